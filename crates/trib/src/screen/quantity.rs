//! Numbers as people read them.

use tributary_pipeline::ByteSize;

/// `1.5 GiB`.
pub(crate) fn bytes(bytes: u64) -> String {
    ByteSize(bytes).to_string()
}

/// `12,345,678`.
pub(crate) fn count(number: u64) -> String {
    let digits = number.to_string();
    let mut grouped = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            grouped.push(',');
        }
        grouped.push(digit);
    }
    grouped
}

/// `1 step`, `12 steps`.
pub(crate) fn plural(number: usize, what: &str) -> String {
    let ending = if number == 1 { "" } else { "s" };
    format!("{} {what}{ending}", count(number as u64))
}

/// `0.42 s`, `12.3 s`, `2 min 05 s`, `3 h 20 min`.
pub(crate) fn duration(seconds: f64) -> String {
    let whole = seconds.round() as u64;
    match seconds {
        s if s < 9.995 => format!("{s:.2} s"),
        s if s < 59.95 => format!("{s:.1} s"),
        s if s < 3599.5 => format!("{} min {:02} s", whole / 60, whole % 60),
        s if s < 359_999.5 => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
        s => format!("{:.1} days", s / 86_400.0),
    }
}

/// As [`duration`], for what is only guessed: `6 s`, `2 min 05 s`.
pub(crate) fn rough_duration(seconds: f64) -> String {
    if seconds < 59.5 {
        format!("{seconds:.0} s")
    } else {
        duration(seconds.round())
    }
}

/// `1,234 tokens/s`, `12.3 MiB/s`, `0.7 steps/s`.
pub(crate) fn rate(per_second: f64, unit: &str) -> String {
    match unit {
        "bytes" | "B" => format!("{}/s", bytes(per_second as u64)),
        _ if per_second < 9.95 => format!("{per_second:.1} {unit}/s"),
        _ => format!("{} {unit}/s", count(per_second.round() as u64)),
    }
}

/// Four significant digits: `2.345`, `0.01234`, `1.234e-5`, `12345`.
pub(crate) fn significant(value: f64) -> String {
    let size = value.abs();
    if value == 0.0 || !value.is_finite() {
        return value.to_string();
    }
    if !(1e-4..1e6).contains(&size) {
        return format!("{value:.3e}");
    }
    let decimals = (3 - size.log10().floor() as i32).max(0) as usize;
    format!("{value:.decimals$}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_read_well() {
        assert_eq!(count(0), "0");
        assert_eq!(count(999), "999");
        assert_eq!(count(1_000), "1,000");
        assert_eq!(count(12_345_678), "12,345,678");
        assert_eq!(plural(1, "step"), "1 step");
        assert_eq!(plural(1200, "step"), "1,200 steps");
        let times = [0.004, 9.99, 9.996, 59.94, 59.96, 125.0, 3599.6, 12_000.0, 1e6];
        let said: Vec<String> = times.into_iter().map(duration).collect();
        let read = [
            "0.00 s",
            "9.99 s",
            "10.0 s",
            "59.9 s",
            "1 min 00 s",
            "2 min 05 s",
            "1 h 00 min",
            "3 h 20 min",
        ];
        assert_eq!(said[..8], read);
        assert_eq!(said[8], "11.6 days");
        assert_eq!(rough_duration(6.4), "6 s");
        assert_eq!(rough_duration(59.6), "1 min 00 s");
        assert_eq!(rate(1234.4, "tokens"), "1,234 tokens/s");
        assert_eq!(rate(0.66, "steps"), "0.7 steps/s");
        assert_eq!(rate(3.5 * 1048576.0, "bytes"), "3.5 MiB/s");
    }

    #[test]
    fn four_digits_tell() {
        let values = [0.0, 2.3456, 0.0123456, 1.2345e-5, 12345.6, 99.999, -3.0, 1.5e7];
        let said: Vec<String> = values.into_iter().map(significant).collect();
        assert_eq!(
            said,
            [
                "0", "2.346", "0.01235", "1.234e-5", "12346", "100.00", "-3.000", "1.500e7"
            ]
        );
        assert_eq!(significant(f64::NAN), "NaN");
    }
}
