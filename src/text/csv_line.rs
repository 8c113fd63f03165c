//! A list in one argument, as a line of CSV writes it.

/// The fields of one line; `None` where a quote is left open, or there are several lines.
pub(crate) fn csv_line(text: &str) -> Option<Vec<String>> {
    let (mut fields, mut field, mut quoted) = (Vec::new(), String::new(), false);
    let mut rest = text.chars().peekable();
    let mut begins = true;
    while let Some(c) = rest.next() {
        match c {
            '"' if begins => quoted = true,
            '"' if quoted && rest.next_if_eq(&'"').is_some() => field.push('"'),
            '"' if quoted => quoted = false,
            '\n' | '\r' if !quoted => return None,
            ',' if !quoted => fields.push(std::mem::take(&mut field)),
            c => field.push(c),
        }
        begins = c == ',' && !quoted;
    }
    fields.push(field);
    (!quoted).then_some(fields)
}

/// A field as [`csv_line`] reads it back.
pub(crate) fn csv_field(text: &str) -> String {
    if text.contains([',', '\n', '\r']) || text.starts_with('"') {
        format!("\"{}\"", text.replace('"', "\"\""))
    } else {
        text.to_owned()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_field_with_a_comma_stands_in_quotes() {
        assert_eq!(csv_line("a,b c").unwrap(), ["a", "b c"]);
        assert_eq!(csv_line(r#""Doe, John",li.si"#).unwrap(), ["Doe, John", "li.si"]);
        assert_eq!(csv_line(r#"5" pipe,"say ""hi""""#).unwrap(), ["5\" pipe", "say \"hi\""]);
        assert_eq!((csv_line("\"a,b"), csv_line("a\nb")), (None, None));
    }

    proptest! {
        #[test]
        fn what_is_written_reads_back(fields in prop::collection::vec("[a,\" \n]{0,6}", 1..5)) {
            let line = fields.iter().map(|field| csv_field(field)).collect::<Vec<_>>().join(",");
            prop_assert_eq!(csv_line(&line), Some(fields));
        }
    }
}
