"use strict";
// Search, filter and pages over the table of rows. Without it the table is all there, or says what is missing.
try {
  const PAGE = 100;
  const PRINTED = 5000;
  const byId = (id) => document.getElementById(id);
  const form = byId("search"), words = byId("words"), show = byId("show"), count = byId("count");
  const back = byId("back"), forth = byId("forth"), body = byId("table").tBodies[0], data = byId("rows-data");
  const outcomes = body.dataset.outcomes.split(" ");
  const good = new Set(["detached", "already_detached", "attached", "already_attached", "not_due"]);
  const classes = { detached: "done", attached: "done", already_detached: "was", already_attached: "was", failed: "failed", unknown: "unknown", invalid: "invalid" };
  const grouped = (number) => number.toLocaleString("en-US");

  // Two sources, one shape: the rows of the table itself, or the data below it.
  const fromTable = () => {
    const rows = Array.from(body.rows);
    return { length: rows.length, outcome: (n) => rows[n].dataset.o, text: (n) => rows[n].textContent, row: (n) => rows[n] };
  };
  const fromData = () => {
    const rows = JSON.parse(data.textContent);
    data.remove();
    let before = [];
    for (const row of rows) {
      for (let at = 3; at < row.length; at += 1) {
        if (row[at] === 0) row[at] = before[at];
      }
      before = row;
    }
    const element = (name, text, inside) => {
      const made = document.createElement(name);
      if (text !== "") made.append(text);
      for (const one of inside || []) {
        if (one) made.append(one);
      }
      return made;
    };
    const small = (text, start) => (text === "" ? null : element("small", (start || "") + text));
    const row = (n) => {
      const [line, place, writes, desktop, id, user, more, code, message, chunk, request, job, time] = rows[n];
      const outcome = outcomes[place];
      const made = element("tr", "");
      const head = element("th", String(line));
      head.scope = "row";
      const mark = element("span", outcome);
      mark.className = "o " + (classes[outcome] || "left");
      made.append(
        head,
        element("td", desktop || id, [desktop ? small(id) : null]),
        element("td", user, [small(more)]),
        element("td", "", [mark]),
        element("td", "", [code === "" ? null : element("b", code), small(message)]),
        element("td", String(writes)),
        element("td", chunk === "" ? "" : "chunk " + chunk, [small(request, "request "), small(job, "job ")]),
        element("td", time),
      );
      return made;
    };
    const text = (n) => rows[n].map((cell, at) => (at === 1 ? outcomes[cell] : cell)).join(" ");
    return { length: rows.length, outcome: (n) => outcomes[rows[n][1]], text, row };
  };

  const source = data ? fromData() : fromTable();
  const texts = new Array(source.length);
  const text = (n) => (texts[n] === undefined ? (texts[n] = source.text(n).toLowerCase()) : texts[n]);
  let found = [];
  let first = 0;

  const render = (from, many) => {
    const rows = [];
    for (let at = from; at < Math.min(from + many, found.length); at += 1) rows.push(source.row(found[at]));
    body.replaceChildren(...rows);
  };
  const turn = (to) => {
    first = to;
    render(first, PAGE);
    const last = Math.min(first + PAGE, found.length);
    const all = found.length === source.length ? "" : " found of " + grouped(source.length);
    count.textContent = found.length === 0 ? "No row found" : "Rows " + grouped(first + 1) + " to " + grouped(last) + " of " + grouped(found.length) + all;
    back.disabled = first === 0;
    forth.disabled = last === found.length;
  };
  const search = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const only = show.value;
    found = [];
    for (let n = 0; n < source.length; n += 1) {
      const outcome = only === "" ? "" : source.outcome(n);
      if (only === "bad" ? good.has(outcome) : only !== outcome) continue;
      if (wanted.every((word) => text(n).includes(word))) found.push(n);
    }
    turn(0);
  };

  let waiting = 0;
  words.addEventListener("input", () => {
    clearTimeout(waiting);
    waiting = setTimeout(search, source.length > PRINTED ? 200 : 60);
  });
  show.addEventListener("change", search);
  form.addEventListener("submit", (event) => {
    event.preventDefault();
    clearTimeout(waiting);
    search();
  });
  back.addEventListener("click", () => turn(Math.max(0, first - PAGE)));
  forth.addEventListener("click", () => turn(first + PAGE));
  for (const link of document.querySelectorAll("a[data-show]")) {
    link.addEventListener("click", () => {
      show.value = link.dataset.show;
      words.value = "";
      search();
    });
  }
  // On paper there are no pages to turn: all that was found is printed, with every table of figures.
  const closed = [];
  addEventListener("beforeprint", () => {
    render(0, PRINTED);
    if (found.length > PRINTED) count.textContent = "The first " + grouped(PRINTED) + " of " + grouped(found.length) + " rows";
    for (const one of document.querySelectorAll("details:not([open])")) {
      closed.push(one);
      one.open = true;
    }
  });
  addEventListener("afterprint", () => {
    for (const one of closed.splice(0)) one.open = false;
    turn(first);
  });

  search();
  form.hidden = false;
  back.parentElement.hidden = false;
  const note = byId("partly");
  if (note) note.remove();
} finally {
  document.getElementById("table").classList.add("ready");
}
