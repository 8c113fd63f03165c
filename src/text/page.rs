//! The one page that plan, undo and summary are set on: paragraphs, items, titles, facts, in lines of a width.

use std::fmt::Write as _;

use anstyle::{AnsiColor, Style};

use super::wrap::{wrap, wrap_hanging};

/// What a page stresses.
pub(crate) const BOLD: Style = Style::new().bold();
/// What stands back.
pub(crate) const DIM: Style = Style::new().dimmed();
const CAUTION: Style = AnsiColor::Yellow.on_default().bold();

/// Columns that the names of facts take.
const FACT_NAME: usize = 10;

/// Text in lines of at most a width, where words allow it; with styles, which a stream without colours takes off.
pub(crate) struct Page {
    text: String,
    width: usize,
}

impl Page {
    pub(crate) fn new(width: usize) -> Self {
        Self { text: String::new(), width: width.clamp(40, 120) }
    }

    /// What was set. `colour` keeps the styles.
    pub(crate) fn finish(self, colour: bool) -> String {
        if colour { self.text } else { anstream::adapter::strip_str(&self.text).to_string() }
    }

    pub(crate) fn blank(&mut self) {
        self.text.push('\n');
    }

    pub(crate) fn title(&mut self, title: &str) {
        self.blank();
        self.styled(BOLD, title);
    }

    /// A title of what somebody should look at before saying yes.
    pub(crate) fn caution(&mut self, title: &str) {
        self.blank();
        self.styled(CAUTION, title);
    }

    pub(crate) fn item(&mut self, text: &str) {
        self.paragraph("  - ", text, Style::new());
    }

    /// One fact: its name, and what it is.
    pub(crate) fn fact(&mut self, name: &str, value: &str) {
        self.paragraph(&format!("{name:<FACT_NAME$}"), value, Style::new());
    }

    /// A paragraph in a style; further lines are indented by two.
    pub(crate) fn styled(&mut self, style: Style, text: &str) {
        let lines = wrap_hanging(text, self.width, self.width.saturating_sub(2));
        self.lines(&lines, "", 2, style);
    }

    /// A paragraph whose further lines are indented by two more.
    pub(crate) fn line(&mut self, indent: usize, text: &str) {
        let left = self.width.saturating_sub(indent);
        let lines = wrap_hanging(text, left, left.saturating_sub(2));
        self.lines(&lines, &" ".repeat(indent), indent + 2, Style::new());
    }

    /// A paragraph that begins with `start` (ASCII); further lines are indented by as much.
    pub(crate) fn paragraph(&mut self, start: &str, text: &str, style: Style) {
        let lines = wrap(text, self.width.saturating_sub(start.len()));
        self.lines(&lines, start, start.len(), style);
    }

    /// As [`paragraph`](Self::paragraph), with the style on its beginning.
    pub(crate) fn labelled(&mut self, style: Style, start: &str, text: &str) {
        let lines = wrap(text, self.width.saturating_sub(start.len()));
        self.lines(&lines, &painted(style, start), start.len(), Style::new());
    }

    /// A line that is never wrapped, because it is to be copied.
    pub(crate) fn verbatim(&mut self, indent: usize, line: &str, style: Style) {
        _ = writeln!(self.text, "{}{}", " ".repeat(indent), painted(style, line));
    }

    fn lines(&mut self, lines: &[String], start: &str, indent: usize, style: Style) {
        for (place, line) in lines.iter().enumerate() {
            let before = if place == 0 { start.to_owned() } else { " ".repeat(indent) };
            _ = writeln!(self.text, "{before}{}", painted(style, line));
        }
    }
}

/// Ended before the end of the line: a style that goes on would colour what others write.
fn painted(style: Style, text: &str) -> String {
    if style == Style::new() { text.to_owned() } else { format!("{style}{text}{style:#}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_page_keeps_its_width_and_its_indents() {
        let mut page = Page::new(40);
        page.title("Three words, and then some more that go on");
        page.item("an item that does not fit into one line of forty columns");
        page.fact("Results", "leavers.results.csv");
        page.line(2, "a paragraph that goes on in a line that is indented further");
        page.verbatim(2, "batch-detach run a-very-long-name-that-is-copied.csv --yes", BOLD);
        let text = page.finish(false);
        insta::assert_snapshot!(text, @r"

        Three words, and then some more that go
          on
          - an item that does not fit into one
            line of forty columns
        Results   leavers.results.csv
          a paragraph that goes on in a line
            that is indented further
          batch-detach run a-very-long-name-that-is-copied.csv --yes
        ");
    }

    #[test]
    fn styles_end_with_their_lines() {
        let mut page = Page::new(40);
        page.styled(BOLD, "a title that is so long that it takes two lines of the page");
        let text = page.finish(true);
        assert_eq!(text.lines().filter(|line| line.ends_with("\u{1b}[0m")).count(), 2, "{text:?}");
    }
}
