"""Checks the report in headless Chromium, and the metrics with Prometheus's own parser.

Called by tests/browser/run. Every check prints a line; the last line is "N passed, N failed".
"""

import contextlib
import csv
import http.server
import json
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter

from axe_playwright_python.sync_playwright import Axe
from playwright.sync_api import sync_playwright
from prometheus_client.parser import text_string_to_metric_families

BINARY = sys.argv[1]
REPOSITORY = pathlib.Path(__file__).resolve().parents[2]
FLAGS = [
    "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
    "--disable-component-update", "--disable-sync",
]
# Short waits, so that a run of minutes takes seconds.
QUICK = {
    "BATCH_DETACH_SETTLE_TIME": "50ms", "BATCH_DETACH_POLL_INTERVAL": "100ms", "BATCH_DETACH_DOUBT_WAIT": "300ms",
    "BATCH_DETACH_BUSY_WAIT": "300ms", "BATCH_DETACH_WRITE_RATE": "40/s", "BATCH_DETACH_READ_RATE": "200/s",
}
GOOD = {"detached", "already_detached"}
EVIL = '<img src=x onerror="document.title=1">'

passed = failed = 0


def check(what, is_so, seen=""):
    global passed, failed
    passed, failed = passed + bool(is_so), failed + (not is_so)
    print(f"{'ok' if is_so else 'FAILED'}  {what}" + (f": {seen}" if seen != "" else ""), flush=True)


def program(*words, env=None, code=None):
    done = subprocess.run([BINARY, *map(str, words)], env={**os.environ, **QUICK, **(env or {})}, cwd=directory,
                          capture_output=True, text=True, timeout=120, stdin=subprocess.DEVNULL)
    if code is not None and done.returncode != code:
        raise SystemExit(f"{words} ended with {done.returncode}, not {code}:\n{done.stdout}{done.stderr}")
    return done


def results_of(name):
    with open(directory / f"{name}.results.csv", encoding="utf-8-sig", newline="") as file:
        return list(csv.DictReader(file))


def report(name, *words):
    program("report", f"{name}.results.csv.journal", *words, code=0)
    return f"{name}.report.html"


@contextlib.contextmanager
def served():
    """The directory over HTTP on loopback, with every request that came."""
    asked = []

    class Handler(http.server.SimpleHTTPRequestHandler):
        def __init__(self, *arguments):
            super().__init__(*arguments, directory=str(directory))

        def log_message(self, *_):
            asked.append(self.path)

    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}", asked
    server.shutdown()


class Page:
    """One page in a context of its own; remembers what it said and what it asked for."""

    def __init__(self, browser, url, **options):
        self.context = browser.new_context(**options)
        self.context.set_default_timeout(300_000)  # a bound for what hangs: other work on the machine may slow all else
        self.page = self.context.new_page()
        self.said, self.asked = [], []
        self.page.on("console", lambda message: self.said.append(message.text))
        self.page.on("pageerror", lambda error: self.said.append(str(error)))
        self.page.on("request", lambda request: self.asked.append(request.url))
        # Seconds of work, not of the clock: other work on the machine must not count.
        self.meter = self.context.new_cdp_session(self.page)
        self.meter.send("Performance.enable", {"timeDomain": "threadTicks"})
        self.page.goto(url)
        self.opened = self.worked()

    def worked(self):
        """Seconds that the page has worked so far."""
        return next(one["value"] for one in self.meter.send("Performance.getMetrics")["metrics"] if one["name"] == "TaskDuration")

    def __enter__(self):
        return self.page, self

    def __exit__(self, *_):
        self.context.close()


def number(text):
    return int(re.sub(r"\D", "", text))


def tiles(page):
    pairs = page.eval_on_selector_all(
        ".tile", "all => all.map(t => [t.querySelector('.name').textContent, t.querySelector('b').textContent])")
    return {name: number(rows) for name, rows in pairs}


def search(page, words):
    page.fill("#words", words)
    page.press("#words", "Enter")  # at once, where typing alone waits for the next letter
    return page.inner_text("#count")


def numbers_are_those_of_the_results(page, name):
    rows = results_of(name)
    expected = Counter(row["outcome"] for row in rows)
    check(f"{name}: the tiles have the counts of the results", tiles(page) == dict(expected), dict(expected))
    check(f"{name}: the count names every row", f"of {len(rows):,}" in page.inner_text("#count"))
    for outcome, count in expected.items():
        page.select_option("#show", outcome)
        said = page.inner_text("#count")
        check(f"{name}: the filter {outcome} finds {count}", f"of {count:,} found" in said or count == len(rows), said)
    page.select_option("#show", "")
    bad = [row for row in rows if row["outcome"] not in GOOD]
    if bad:
        said = search(page, bad[-1]["line"] + " " + bad[-1]["error_code"])
        shown = page.inner_text("#table tbody")
        check(f"{name}: a failed row is found by its line and code", bad[-1]["user_name"] in shown, said)
        search(page, "")


def accessible(page, what):
    found = Axe().run(page).response["violations"]
    seen = "; ".join(f"{one['id']} ({len(one['nodes'])})" for one in found)
    check(f"{what}: axe finds nothing", not found, seen)
    for one in found:
        for node in one["nodes"][:3]:
            print("        ", node["target"], node.get("failureSummary", "")[:300])


def small_run(browser, base, asked):
    shutil.copy(REPOSITORY / "samples/leavers.csv", directory / "leavers.csv")
    program("run", "leavers.csv", "--simulate", "--yes", "--ticket", "HR-4711", "--metrics", "leavers.prom", code=1)
    name = report("leavers")
    check("the page is private", (directory / name).stat().st_mode & 0o777 == 0o600)
    asked.clear()
    with Page(browser, f"{base}/{name}") as (page, seen):
        page.wait_for_timeout(500)
        check("over HTTP the page alone is asked for", asked and all(name in line for line in map(str, seen.asked[:1]))
              and len(asked) == 1, asked)
        numbers_are_those_of_the_results(page, "leavers")
        text = page.inner_text("body")
        identity = json.loads(program("status", "leavers.results.csv.journal", "--format", "json", code=0).stdout)
        for what in ["HR-4711", "HIBERNATED", "What to do:", identity["run_id"], identity["plan_hash"], "李娜", "HR-4112",
                     "last_day", "54 people", "still gets in by", "This was a simulation",
                     "4 people still get in", "their own row is not done: desktop WS-FSS-015, failed"]:
            check(f"the page says {what[:20]}", what in text)
        check("nothing is said on the console", not seen.said, seen.said)
        people = page.locator("#people-bar-desc").text_content()
        check("the picture of the people stands before the numbers", people == "50 out, 4 still in", people)
        check("61 rows print on a few sheets", sheets(page) <= 7, sheets(page))
        page.click(".tile.failed a")
        check("a tile shows its rows", page.input_value("#show") == "failed")
    with Page(browser, f"{base}/{name}") as (page, _):
        stops = []
        for _ in range(40):
            page.keyboard.press("Tab")
            stops.append(page.evaluate("document.activeElement.id || document.activeElement.className || "
                                       "document.activeElement.tagName"))
        check("the first key goes to the skip link", stops[0] == "skip", stops[0])
        check("search and filter are reached by keys", {"words", "show"} <= set(stops))
    in_every_light(browser, f"{base}/{name}", "")
    with Page(browser, f"{base}/{name}", java_script_enabled=False) as (page, _):
        check("without JavaScript every row is there", page.locator("#table tbody tr").count() == 61)
        check("without JavaScript no dead control is there", page.locator("input:visible, button:visible").count() == 0)


def middle_run(browser, base):
    sheet = subprocess.run(["sh", REPOSITORY / "samples/make-large.sh", "5000"], capture_output=True, check=True).stdout
    (directory / "middle.csv").write_bytes(sheet)
    program("run", "middle.csv", "--simulate", "--yes", code=1)
    name = report("middle")
    with Page(browser, f"{base}/{name}") as (page, seen):
        usable = seen.opened
        check("5,000 rows are usable within a second", usable < 1, f"{usable:.2f} s, "
              f"{(directory / name).stat().st_size / 1e6:.1f} MB")
        numbers_are_those_of_the_results(page, "middle")
        lines = [row["line"] for row in results_of("middle")]
        page.click("#forth")
        first = page.inner_text("#table tbody tr:first-child th")
        check("the next page goes on where the first one ended", first == lines[100], first)
        page.emulate_media(media="print")
        page.evaluate("dispatchEvent(new Event('beforeprint'))")
        check("all rows are printed", page.locator("#table tbody tr").count() == 5000)
        check("nothing is said on the console", not seen.said, seen.said)
    with Page(browser, f"{base}/{name}", java_script_enabled=False) as (page, _):
        check("without JavaScript all 5,000 rows are there", page.locator("#table tbody tr").count() == 5000)


def large_run(browser, base):
    """Stopped at once: what its page has to carry is the same."""
    sheet = subprocess.run(["sh", REPOSITORY / "samples/make-large.sh", "100000", "40"], capture_output=True, check=True).stdout
    (directory / "large.csv").write_bytes(sheet)
    program("run", "large.csv", "--simulate", "--yes", "--max-runtime", "2s", code=5)
    start = time.monotonic()
    name = report("large")
    check("the page of 100,000 rows is made", True, f"{time.monotonic() - start:.1f} s, "
          f"{(directory / name).stat().st_size / 1e6:.1f} MB")
    with Page(browser, f"{base}/{name}") as (page, seen):
        usable = seen.opened
        check("100,000 rows open", usable < 5, f"{usable:.2f} s")
        numbers_are_those_of_the_results(page, "large")
        rows = results_of("large")
        said = search(page, rows[77_777]["desktop_id"])
        alike = sum(row["desktop_id"] == rows[77_777]["desktop_id"] for row in rows)
        check("a desktop far down is found", f"of {alike} found of 100,000" in said, said)
        check("its row reads as in the results", rows[77_777]["user_name"] in page.inner_text("#table tbody"))
        check("the page says that the run stopped", "stopped before its end" in page.inner_text(".verdict"))
        check("nothing is said on the console", not seen.said, seen.said)
    with Page(browser, f"{base}/{name}", java_script_enabled=False) as (page, _):
        check("without JavaScript 2,000 rows are there", page.locator("#table tbody tr").count() == 2000)
        check("and it says which", "2,000 rows of 100,000" in page.inner_text("#partly"))


def seen_whole(page, what, width):
    """On a desk's screen no table has to be moved to be read; the one of who still gets in, on no screen."""
    for table in [".scroll"] if width >= 1280 else []:
        hidden = page.eval_on_selector_all(table, "all => all.map(one => one.scrollWidth - one.clientWidth)")
        check(f"{what}: no column is cut off", all(one <= 0 for one in hidden), hidden)
    seen = page.evaluate("""() => {
        const table = document.querySelector("table.people"), all = table.closest("section").getBoundingClientRect();
        return Array.from(table.rows).every((row) => Array.from(row.cells).every((cell) => cell.getBoundingClientRect().right <= all.right));
    }""")
    check(f"{what}: who still gets in is seen whole", seen)


def in_every_light(browser, url, what):
    """Both colour schemes, at a desk's width and at a telephone's."""
    for scheme in ["light", "dark"]:
        # The policy forbids the checker's own script: it is let in for this look alone.
        with Page(browser, url, color_scheme=scheme, bypass_csp=True) as (page, _):
            for width in [1280, 400]:
                page.set_viewport_size({"width": width, "height": 900})
                here = f"{what}{scheme}, {width} wide"
                accessible(page, here)
                over = page.evaluate("document.documentElement.scrollWidth - innerWidth")
                check(f"{here}: nothing sticks out", over <= 0, over)
                seen_whole(page, here, width)


def sheets(page):
    """How many sheets of A4 it prints on."""
    return len(re.findall(rb"/Type\s*/Page\b", page.pdf(format="A4")))


def plan_page(browser, base, asked):
    """What the approver does with a plan: read, search, filter, print."""
    program("plan", "leavers.csv", "--simulate", "--html", "plan.html", code=0)
    with open(directory / "leavers.csv", encoding="utf-8-sig", newline="") as file:
        rows = list(csv.DictReader(file))
    asked.clear()
    with Page(browser, f"{base}/plan.html") as (page, seen):
        page.wait_for_timeout(300)
        check("plan: the page alone is asked for", len(asked) == 1 and "plan.html" in str(asked[0]), asked)
        said = page.inner_text("#count")
        check("plan: all rows are there, in groups", f"All {len(rows)} rows" in said
              and page.locator("#groups tr[data-o]:visible").count() == len(rows), said)
        said = search(page, "HR-4112")
        shown = page.inner_text("#table tbody")
        check("plan: a row is found by the list's own column", "of 1 found of 61" in said and "HR-4112" in shown, said)
        check("plan: the groups make room for what is found", page.locator("#groups:visible").count() == 0)
        said = search(page, "hr-41 finance")
        expected = sum("HR-41" in row["ticket"] and "finance" in row["department"].lower() for row in rows)
        check("plan: a row must have all of several words", f"of {expected} found" in said, said)
        check("plan: nobody is found by what is nowhere", search(page, "zzzz") == "No row found")
        search(page, "")
        check("plan: without words the groups are back", page.locator("#groups:visible").count() == 1)
        for mark, what in page.eval_on_selector_all("#show option", "all => all.map(o => [o.value, o.textContent])")[1:]:
            page.select_option("#show", mark)
            said, rows_of = page.inner_text("#count"), number(what)
            check(f"plan: the filter {what} finds them", f"of {rows_of:,} found" in said, said)
        page.select_option("#show", "still")
        check("plan: each row says by what its person still gets in",
              all("still gets in by" in one for one in page.locator("#table tbody tr").all_inner_texts()))
        page.click(".tile a[href='#in-use']")
        check("plan: a tile leads to its group", page.locator("#groups:visible #in-use").count() == 1)
        page.select_option("#show", "in-use")
        check("plan: a row that stands alone has what its group's heading says",
              all("in use now" in one for one in page.locator("#table tbody tr").all_inner_texts()))
        page.click("nav a[href='#may-be-refused']")
        check("plan: a link at the top leads to its group", page.locator("#groups:visible #may-be-refused").count() == 1)
        order = page.eval_on_selector_all("#groups section", "all => all.map(s => s.getAttribute('aria-labelledby'))")
        check("plan: what needs a look comes first", order[:3] == ["still-rows", "may-be-refused", "in-use"], order)
        repeated = page.locator("#groups td", has_text="shuts down").count()
        check("plan: no row repeats what its group says", repeated == 0, repeated)
        page.select_option("#show", "")
        whole = sheets(page)
        check("plan: 61 rows print on a few sheets", whole <= 7, whole)
        page.emulate_media(media="print")
        check("plan: on paper no control is seen", page.locator("input:visible, select:visible, button:visible").count() == 0)
        page.emulate_media(media="screen")
        search(page, "HR-4112")
        check("plan: what is found prints alone", sheets(page) < whole, sheets(page))
        check("plan: nothing is said on the console", not seen.said, seen.said)
    in_every_light(browser, f"{base}/plan.html", "plan, ")
    with Page(browser, f"{base}/plan.html", java_script_enabled=False) as (page, _):
        check("plan: without JavaScript every row is there", page.locator("#groups tr[data-o]:visible").count() == len(rows))
        check("plan: without JavaScript no dead control is there",
              page.locator("input:visible, button:visible, #table:visible").count() == 0)


def large_plan(browser, base):
    start = time.monotonic()
    program("plan", "large.csv", "--simulate", "--html", "plan-large.html")
    made = f"{time.monotonic() - start:.1f} s, {(directory / 'plan-large.html').stat().st_size / 1e6:.1f} MB"
    rows = list(csv.DictReader(open(directory / "large.csv", encoding="utf-8-sig", newline="")))
    with Page(browser, f"{base}/plan-large.html") as (page, seen):
        usable = seen.opened
        check("plan: 100,000 rows open", usable < 8, f"{usable:.2f} s; made in {made}")
        page.wait_for_timeout(4000)
        took = []
        for words in [rows[77_777]["user_name"], rows[77_777]["desktop_id"]]:
            before = seen.worked()
            page.evaluate("""async (words) => {
                document.getElementById("words").value = words;
                document.getElementById("search").requestSubmit();
                await new Promise((done) => requestAnimationFrame(() => setTimeout(done)));
            }""", words)
            took.append(seen.worked() - before)
        check("plan: 100,000 rows are searched while one types", max(took) < 1, f"{took[0]:.2f} s and {took[1]:.2f} s")
        said, alike = page.inner_text("#count"), sum(row["desktop_id"] == rows[77_777]["desktop_id"] for row in rows)
        check("plan: a desktop far down is found", f"of {alike} found of 100,000" in said
              and rows[77_777]["user_name"] in page.inner_text("#table tbody"), said)
        check("plan: nothing is said on the console", not seen.said, seen.said)


def hostile_run(browser, base):
    """Names that are markup: 64 characters are enough for some."""
    with open(directory / "evil.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        writer.writerow(["desktop_id", "user_name", "type"])
        for n, name in enumerate([EVIL, "</script><script>document.title=2</script>", "</td></table><h1>x", "&lt;b&gt;"]):
            writer.writerow([f"d-{n}", name, "USER"])
        writer.writerow([EVIL, "nobody", "USER"])
        writer.writerow(["d-9", "x", "NEITHER"])
    program("run", "evil.csv", "--simulate", "--yes", "--on-invalid", "skip", "--ticket", EVIL)
    name = report("evil")
    with Page(browser, f"{base}/{name}") as (page, seen):
        page.wait_for_timeout(300)
        check("no name becomes markup", page.locator("img").count() == 0 and page.locator("h1").count() == 1)
        check("no name runs", not page.title().strip().isdigit() and not seen.said, page.title())
        check("the names are shown as they are", EVIL in page.inner_text("#table"))
        check("the page alone was loaded", [one for one in seen.asked if not one.startswith("data:")] == [page.url])


def redacted(browser, base):
    program("report", "leavers.results.csv.journal", "--redact", "--output", "redacted.html", code=0)
    program("report", "leavers.results.csv.journal", "--redact", "--output", "again.html", code=0)
    text, again = ((directory / one).read_text() for one in ["redacted.html", "again.html"])
    people = {row[cell] for row in results_of("leavers") for cell in ["user_name", "user_id"] if row[cell]}
    named = [person for person in people if person.lower() in text.lower()]
    check(f"none of {len(people)} names and ids is in a redacted page", not named, named[:5])
    hashes = re.compile(r"user-[0-9a-f]{12}")
    one, other = set(hashes.findall(text)), set(hashes.findall(again))
    check("each user has one hash on a page, and another on the next", len(one) > 40 and not one & other, len(one))
    with Page(browser, f"{base}/redacted.html") as (page, _):
        rows = results_of("leavers")
        user = Counter(row["user_name"].lower() for row in rows).most_common(1)[0]
        shown = page.eval_on_selector_all("#table tbody tr td:nth-child(3)", "all => all.map(td => td.firstChild.data)")
        check("the rows of one user can still be told together", max(Counter(shown).values()) >= user[1], user[1])


def while_it_goes_on():
    shutil.copy(REPOSITORY / "samples/leavers.csv", directory / "slow.csv")
    slow = {"BATCH_DETACH_SETTLE_TIME": "20s"}
    run = subprocess.Popen([BINARY, "run", "slow.csv", "--simulate", "--yes"], cwd=directory, env={**os.environ, **QUICK, **slow},
                           stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        for _ in range(200):
            standing = program("status", "slow.results.csv.journal", "--format", "json")
            if standing.returncode == 0 and json.loads(standing.stdout)["state"] == "running":
                break
            time.sleep(0.05)
        text = (directory / report("slow")).read_text()
        check("a page of a run that goes on says so", "The run is going on:" in text)
    finally:
        run.send_signal(signal.SIGKILL)
        run.wait()
    text = (directory / report("slow")).read_text()
    check("a page of a run that was killed says so", "The run stopped before its end" in text and "no end recorded" in text)
    left = [name for name in os.listdir(directory) if name.endswith(".tmp")]
    check("no part of a page is left behind", not left, left)


def metrics():
    """Prometheus's own parser, not ours."""
    families = {one.name: one for one in text_string_to_metric_families((directory / "leavers.prom").read_text())}
    samples = {name: {tuple(sorted(s.labels.items())): s.value for s in one.samples} for name, one in families.items()}
    value = lambda family, **labels: [v for key, v in samples[family].items() if set(labels.items()) <= set(key)]
    expected = Counter(row["outcome"] for row in results_of("leavers"))
    seen = {s.labels["outcome"]: s.value for s in families["batch_detach_rows"].samples}
    check("metrics: rows by outcome are those of the results", {k: v for k, v in seen.items() if v} == dict(expected), seen)
    check("metrics: outcomes without rows are there as zeros", seen.get("unknown") == 0)
    check("metrics: every family has a help text and is a gauge",
          all(one.documentation and one.type == "gauge" for one in families.values()), len(families))
    sent = value("batch_detach_requests", **{"class": "batch-detach", "result": "started"})
    check("metrics: writes are counted", sent and sent[0] >= 1, sent)
    check("metrics: the exit code is there", value("batch_detach_exit_code") == [1.0])
    check("metrics: a run that did not end well is no success", "batch_detach_last_success_timestamp_seconds" not in families)
    check("metrics: the end is a time of today", abs(value("batch_detach_last_run_timestamp_seconds")[0] - time.time()) < 600)
    check("metrics: the duration is there", 0 < value("batch_detach_duration_seconds")[0] < 120)
    check("metrics: every sample names its input", all(s.labels.get("input") == "leavers.csv"
                                                     for one in families.values() for s in one.samples))


with tempfile.TemporaryDirectory(prefix="batch-detach-browser-") as made:
    directory = pathlib.Path(made)
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        raise SystemExit("no Chromium found: install the package chromium")
    with sync_playwright() as playwright, served() as (base, asked):
        browser = playwright.chromium.launch(executable_path=chromium, args=FLAGS, chromium_sandbox=os.geteuid() != 0)
        small_run(browser, base, asked)
        metrics()
        plan_page(browser, base, asked)
        redacted(browser, base)
        hostile_run(browser, base)
        while_it_goes_on()
        middle_run(browser, base)
        large_run(browser, base)
        large_plan(browser, base)
        browser.close()
print(f"{passed} passed, {failed} failed")
sys.exit(1 if failed else 0)
