"use strict";
// Search, filter and pages over the rows. Without it they are all there, or the page says what is missing.
try {
  const PAGE = 100;
  const PRINTED = 5000;
  const SHORT = 16;
  const byId = (id) => document.getElementById(id);
  const form = byId("search"), words = byId("words"), show = byId("show"), count = byId("count");
  const back = byId("back"), forth = byId("forth"), body = byId("table").tBodies[0], data = byId("rows-data");
  // A plan has its rows in groups, which stay as they are: what is found among them is shown instead of them.
  const groups = byId("groups"), result = byId("found");
  const classes = { detached: "done", attached: "done", already_detached: "was", already_attached: "was", failed: "failed", unknown: "unknown", invalid: "invalid" };
  const grouped = (number) => number.toLocaleString("en-US");

  // Three sources, one shape: the table's own rows, those of the groups, or the data below the table.
  const fromTable = (rows, row) => ({ length: rows.length, marks: (n) => rows[n].dataset.o, text: (n) => rows[n].textContent, row });
  const fromRows = () => {
    const rows = Array.from(body.rows);
    return fromTable(rows, (n) => rows[n]);
  };
  const fromGroups = () => {
    const rows = Array.from(groups.querySelectorAll("tr[data-o]"));
    return fromTable(rows, (n) => {
      const made = rows[n].cloneNode(true), said = document.createElement("small");
      // What the heading of its group says of all its rows.
      said.textContent = rows[n].closest("section").dataset.all;
      made.lastElementChild.append(said);
      return made;
    });
  };
  const fromData = () => {
    const rows = JSON.parse(data.textContent);
    data.remove();
    let before = [];
    for (const row of rows) {
      for (let at = 2; at < row.length; at += 1) {
        if (row[at] === 0) row[at] = before[at];
      }
      before = row;
    }
    const element = (name, text, inside, look) => {
      const made = document.createElement(name);
      if (text !== "") made.append(text);
      for (const one of inside || []) {
        if (one) made.append(one);
      }
      if (look) made.className = look;
      return made;
    };
    const small = (text, start, look) => (text === "" ? null : element("small", (start || "") + text, [], look));
    const outcome = (n) => rows[n][2].split(" ")[0];
    const row = (n) => {
      const [line, writes, , desktop, id, user, more, still, code, message, chunk, request, job, time, ...own] = rows[n];
      const made = element("tr", "");
      const head = element("th", String(line));
      head.scope = "row";
      made.append(
        head,
        element("td", desktop || id, [desktop ? small(id) : null]),
        element("td", user, [small(more), small(still, "", "still")]),
        ...own.map((cell) => element("td", cell, [], Array.from(cell).length <= SHORT ? "short" : "")),
        element("td", "", [element("span", outcome(n), [], "o " + (classes[outcome(n)] || "left"))]),
        element("td", "", [code === "" ? null : element("b", code), small(message)], "why"),
        element("td", String(writes)),
        element("td", chunk === "" ? "" : "chunk " + chunk, [small(request, "request "), small(job, "job ")], "sent"),
        element("td", time),
      );
      return made;
    };
    const text = (n) => rows[n][0] + " " + outcome(n) + " " + rows[n].slice(3).join(" ");
    return { length: rows.length, marks: (n) => rows[n][2], text, row };
  };

  const source = groups ? fromGroups() : data ? fromData() : fromRows();
  const texts = new Array(source.length);
  const text = (n) => (texts[n] === undefined ? (texts[n] = source.text(n).toLowerCase()) : texts[n]);
  let found = [];
  let first = 0;
  // Nothing is asked for, and the groups are there to be read.
  let rests = false;

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
    back.parentElement.hidden = back.disabled && forth.disabled;
  };
  const search = () => {
    const wanted = words.value.toLowerCase().split(/\s+/).filter((word) => word !== "");
    const only = show.value;
    rests = groups !== null && wanted.length === 0 && only === "";
    found = [];
    for (let n = 0; n < source.length && !rests; n += 1) {
      if (only !== "" && !source.marks(n).split(" ").includes(only)) continue;
      if (wanted.every((word) => text(n).includes(word))) found.push(n);
    }
    turn(0);
    if (groups) groups.classList.toggle("away", !rests);
    if (result) result.hidden = rests;
    if (rests) count.textContent = "All " + grouped(source.length) + " rows, in groups";
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
  // A link to rows of one kind asks for them; one to a group must find it there.
  for (const link of document.querySelectorAll("a[data-show], .tile a" + (groups ? ", nav a" : ""))) {
    link.addEventListener("click", () => {
      show.value = link.dataset.show || "";
      words.value = "";
      search();
    });
  }
  // On paper there are no pages to turn: all that was found is printed, with every table of figures.
  const closed = [];
  addEventListener("beforeprint", () => {
    if (!rests) render(0, PRINTED);
    if (found.length > PRINTED) count.textContent = "The first " + grouped(PRINTED) + " of " + grouped(found.length) + " rows";
    for (const one of document.querySelectorAll("details:not([open])")) {
      closed.push(one);
      one.open = true;
    }
  });
  addEventListener("afterprint", () => {
    for (const one of closed.splice(0)) one.open = false;
    if (!rests) turn(first);
  });

  // Their texts are made bit by bit, before somebody waits for them.
  const prepare = (from) => {
    for (let n = from; n < Math.min(from + 500, source.length); n += 1) text(n);
    if (from + 500 < source.length) setTimeout(prepare, 0, from + 500);
  };

  search();
  form.hidden = false;
  setTimeout(prepare, 300, 0);
  const note = byId("partly");
  if (note) note.remove();
} finally {
  document.getElementById("table").classList.add("ready");
}
