//! What every page begins with: its style, and what it may do.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD as BASE64;
use maud::{DOCTYPE, Markup, PreEscaped, html};
use sha2::{Digest as _, Sha256};

const STYLE: &str = include_str!("page.css");
/// Searches and filters the rows, and shows what it finds page by page. Every page ends with it.
const SCRIPT: &str = include_str!("page.js");
/// Tells the style sheet, before the rows come, that the script will show them: laying out thousands twice takes long.
/// Where scripts are blocked it does not run either, and the rows stay to be read.
const BEFORE: &str = "document.documentElement.classList.add(\"js\");";

/// What may be loaded: nothing. What may run and style: what is in the page, to the letter.
fn policy() -> String {
    let digest = |text: &str| format!("'sha256-{}'", BASE64.encode(Sha256::digest(text)));
    format!(
        "default-src 'none'; style-src {}; script-src {} {}; img-src data:; base-uri 'none'; form-action 'none'",
        digest(STYLE),
        digest(BEFORE),
        digest(SCRIPT)
    )
}

/// The start of a page, up to its body.
pub(super) fn head(title: &str) -> Markup {
    html! {
        (DOCTYPE)
        (PreEscaped("<html lang=\"en\">"))
        head {
            meta charset="utf-8";
            meta http-equiv="Content-Security-Policy" content=(policy());
            meta name="referrer" content="no-referrer";
            meta name="viewport" content="width=device-width, initial-scale=1";
            meta name="color-scheme" content="light dark";
            meta name="robots" content="noindex";
            title { (title) }
            // A browser would ask the server for an icon by itself.
            link rel="icon" href="data:,";
            style { (PreEscaped(STYLE)) }
            script { (PreEscaped(BEFORE)) }
        }
    }
}

/// The end of a page, after all that is in its body.
pub(super) fn tail() -> Markup {
    html! {
        script { (PreEscaped(SCRIPT)) }
        (PreEscaped("</body></html>\n"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_in_style_or_script_reaches_out_or_ends_its_element() {
        for text in [STYLE, SCRIPT] {
            for word in ["</", "http:", "https:", "url(", "@import", "fetch", "XMLHttp", "innerHTML", "eval"] {
                assert!(!text.contains(word), "{word}");
            }
        }
    }
}
