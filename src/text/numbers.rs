//! Numbers as people read them.

/// `1234567` as `1,234,567`.
pub(crate) fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::with_capacity(digits.len() * 4 / 3);
    for (place, digit) in digits.chars().enumerate() {
        if place > 0 && (digits.len() - place).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

/// `1 row`, `2,000 rows`.
pub(crate) fn counted(number: u64, one: &str, many: &str) -> String {
    format!("{} {}", grouped(number), if number == 1 { one } else { many })
}

/// `100/min`, as a setting says it; `25/s` from ten a second on. At most one digit after the point.
pub(crate) fn spell_rate(per_s: f64) -> String {
    spell_rate_beside(per_s, per_s)
}

/// As [`spell_rate`], in the unit of another rate that it is compared with.
pub(crate) fn spell_rate_beside(per_s: f64, other: f64) -> String {
    let (count, unit) = if other >= 10.0 { (per_s, "s") } else { (per_s * 60.0, "min") };
    let spelled = format!("{count:.1}");
    let (whole, tenth) = spelled.split_once('.').unwrap_or((&spelled, "0"));
    let whole = whole.parse().map_or(whole.to_owned(), grouped);
    if tenth == "0" || count >= 10.0 { format!("{whole}/{unit}") } else { format!("{whole}.{tenth}/{unit}") }
}

/// `532 bytes`, `9.5 kB`, `12.0 MB`.
pub(crate) fn size(bytes: u64) -> String {
    let unit = |unit: u64, name| format!("{}.{} {name}", bytes / unit, bytes % unit * 10 / unit);
    match bytes {
        0..1_000 => counted(bytes, "byte", "bytes"),
        1_000..1_000_000 => unit(1_000, "kB"),
        _ => unit(1_000_000, "MB"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_rates_read_well() {
        assert_eq!([999, 3_250, 12_000_000].map(size), ["999 bytes", "3.2 kB", "12.0 MB"]);
        let rates = [0.5 / 60.0, 100.0 / 60.0, 20.0, 5_000.0].map(spell_rate);
        assert_eq!(rates, ["0.5/min", "100/min", "20/s", "5,000/s"]);
        assert_eq!(spell_rate_beside(1.0, 25.0), "1/s");
    }

    #[test]
    fn numbers_are_grouped_by_thousands() {
        for (number, text) in [(0, "0"), (999, "999"), (1000, "1,000"), (1_234_567, "1,234,567")] {
            assert_eq!(grouped(number), text);
        }
    }
}
