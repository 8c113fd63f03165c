use proptest::prelude::*;

use super::*;

#[test]
fn a_rate_is_a_whole_number_a_second_or_a_minute() {
    assert_eq!(Rate::read("100/min").unwrap().period(), Duration::from_millis(600));
    assert_eq!(Rate::read("5/s").unwrap().period(), Duration::from_millis(200));
    assert!((Rate::read("90/min").unwrap().per_second() - 1.5).abs() < 1e-12);
    assert_eq!(Rate::read(" 5 / s ").unwrap().to_string(), "5/s");
    for wrong in ["", "5", "0/s", "-1/s", "1.5/s", "5/h", "5/", "/s", "5/S", "10001/s", "600001/min", "5/s/s"] {
        assert!(Rate::read(wrong).unwrap_err().contains("/s"), "{wrong}");
    }
}

#[test]
fn p08_the_period_of_a_rate_is_rounded_up() {
    assert_eq!(Rate::read("3/s").unwrap().period(), Duration::from_nanos(333_333_334));
    assert_eq!(Rate::read("7/min").unwrap().period(), Duration::from_nanos(8_571_428_572));
}

#[test]
fn durations_have_one_unit() {
    for (text, millis) in [("300ms", 300), ("75s", 75_000), ("10m", 600_000), ("2h", 7_200_000), ("5 s", 5_000)] {
        assert_eq!(wait(text), Ok(Duration::from_millis(millis)), "{text}");
    }
    for wrong in ["", "5", "s", "1h30m", "-1s", "1.5s", "5d", "5S", "99999999999999999999s", "721h"] {
        assert!(wait(wrong).is_err(), "{wrong}");
    }
    assert!(wait("0s").unwrap_err().contains("more than 0"));
    assert_eq!(wait_or_zero("0s"), Ok(Duration::ZERO));
    assert!(request_timeout("601s").unwrap_err().contains("at most 10m"));
    assert!(retry_base("61s").unwrap_err().contains("at most 1m"));
}

#[test]
fn sizes_take_units_and_stay_within_what_the_gateway_takes() {
    for (text, bytes) in [("65536", 65_536), ("4 KiB", 4_096), ("1MiB", 1 << 20), ("12 mb", 12_000_000)] {
        assert_eq!(ByteSize::read(text), Ok(ByteSize(bytes)), "{text}");
    }
    for wrong in ["", "4095", "3 KiB", "12 MiB", "13 MB", "1 GiB", "x", "1.5 MiB", "99999999999999999999 MB"] {
        assert!(ByteSize::read(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn a_percentage_is_compared_without_rounding() {
    let third = Percent::read("33.33%").unwrap();
    assert!(third.is_exceeded_by(1, 3));
    assert!(!Percent::read("5%").unwrap().is_exceeded_by(1, 20));
    assert!(Percent::read("0").unwrap().is_exceeded_by(1, 1_000_000));
    assert!(!Percent::read("100").unwrap().is_exceeded_by(u64::MAX, u64::MAX));
    for wrong in ["", "%", "-1", "100.01", "101%", "1.234", "1.", ".5", "five", "NaN", "1e1", "5%%"] {
        assert!(Percent::read(wrong).is_err(), "{wrong}");
    }
    for text in ["5%", "2.5%", "0.05%", "100%"] {
        assert_eq!(Percent::read(text).unwrap().to_string(), text);
    }
}

#[test]
fn delimiters_are_characters_or_words() {
    for (text, byte) in [(",", b','), ("semicolon", b';'), ("TAB", b'\t'), ("\\t", b'\t'), ("pipe", b'|')] {
        assert_eq!(Delimiter::read(text), Ok(Delimiter(Some(byte))));
    }
    assert_eq!(Delimiter::read("auto"), Ok(Delimiter(None)));
    assert!(Delimiter::read("x").is_err());
}

#[test]
fn an_encoding_is_any_label_of_the_standard_by_one_name() {
    let name = |label| Encoding::read(label).unwrap().to_string();
    assert_eq!(["auto", "UTF8", "latin1", "Shift_JIS"].map(name), ["auto", "utf-8", "windows-1252", "shift_jis"]);
    assert_eq!(["utf-16", "utf-16be", "x-cp1251"].map(name), ["utf-16", "utf-16be", "windows-1251"]);
    assert!(Encoding::read("ebcdic").unwrap_err().contains("WHATWG"));
}

#[test]
fn a_pattern_for_dates_gives_the_whole_date() {
    for right in ["%d/%m/%Y", "%Y%m%d", " %b %d, %Y ", "%d.%m.%y"] {
        assert!(date_format(right).is_ok(), "{right}");
    }
    for wrong in ["", "%d/%m", "%Y-%m", "%H:%M", "%", "31.12.2026"] {
        assert!(date_format(wrong).is_err(), "{wrong}");
    }
}

#[test]
fn columns_name_each_field_once() {
    let columns = |entries: &[&str]| Columns::read(&list_text(entries));
    let both = columns(&["User-Name=员工", "desktop id=a=b"]).unwrap();
    assert_eq!(both.0, [("desktop_id".into(), "a=b".into()), ("user_name".into(), "员工".into())]);
    assert!(columns(&["user_name=a", "username=b"]).unwrap_err().contains("twice"));
    assert!(columns(&["phone=a"]).unwrap_err().contains("desktop_id"));
    for wrong in ["user_name", "user_name=", "=x"] {
        assert!(columns(&[wrong]).is_err(), "{wrong}");
    }
}

#[test]
fn counts_are_bounded_and_words_are_listed() {
    assert_eq!(count::<100>("100").unwrap().get(), 100);
    for wrong in ["0", "101", "-1", "x", "", "1.0"] {
        assert!(count::<100>(wrong).unwrap_err().contains("1 to 100"), "{wrong}");
    }
    assert!(verbosity("4").is_err());
    assert!(InUse::read("keep").unwrap_err().contains("detach, skip"));
    assert_eq!(or_off("OFF", count::<9>), Ok(None));
    assert!(or_off("x", count::<9>).unwrap_err().ends_with("or `off`"));
}

proptest! {
    #[test]
    fn what_is_shown_reads_back(
        n in 1_u32..600_000,
        millis in 1_u64..100_000_000,
        bytes in 4_096_usize..12_000_000,
        hundredths in 0_u32..=10_000,
    ) {
        for text in [format!("{n}/min"), format!("{}/s", n % 10_000 + 1)] {
            prop_assert_eq!(Rate::read(&text).unwrap().to_string(), text);
        }
        let duration = Duration::from_millis(millis);
        prop_assert_eq!(wait(&duration.shown()), Ok(duration));
        prop_assert_eq!(ByteSize::read(&ByteSize(bytes).to_string()), Ok(ByteSize(bytes)));
        let percent = Percent { hundredths };
        prop_assert_eq!(Percent::read(&percent.to_string()), Ok(percent));
    }

    #[test]
    fn a_wait_of_a_rate_never_passes_the_ceiling(n in 1_u32..=600_000) {
        let rate = Rate::read(&format!("{n}/min")).unwrap();
        prop_assert!(rate.period().as_nanos() * u128::from(n) >= 60_000_000_000);
    }

    #[test]
    fn p18_no_text_makes_a_reader_panic(text in any::<String>()) {
        _ = (Rate::read(&text), Percent::read(&text), ByteSize::read(&text), wait(&text), Columns::read(&text));
    }
}
