//! Numbers, durations and amounts as a reader wants them: few digits, a real minus sign, units.

/// A number with four significant digits; very large and very small ones with an exponent.
pub(crate) fn number(value: f64) -> String {
    if !value.is_finite() {
        return not_finite(value);
    }
    if value == 0.0 {
        return "0".to_owned();
    }
    let magnitude = value.abs().log10().floor();
    if !(-4.0..9.0).contains(&magnitude) {
        return scientific(value);
    }
    if value.fract() == 0.0 || magnitude >= 4.0 {
        return grouped(value, 0);
    }
    let decimals = (3.0 - magnitude).max(0.0) as usize;
    signed(trimmed(&format!("{value:.decimals$}")))
}

/// A number with an exponent and four significant digits at most: `1.5e−7`.
pub(crate) fn scientific(value: f64) -> String {
    if value == 0.0 || !value.is_finite() {
        return number(value);
    }
    let text = format!("{value:.3e}");
    let (digits, exponent) = text.split_once('e').unwrap_or((&text, "0"));
    signed(&format!("{}e{exponent}", trimmed(digits)))
}

/// A number with so many decimals.
pub(crate) fn fixed(value: f64, decimals: usize) -> String {
    if value.is_finite() {
        grouped(value, decimals)
    } else {
        not_finite(value)
    }
}

/// Decimals that show two significant digits of an error, at most eight.
pub(crate) fn decimals_of_error(error: f64) -> usize {
    if error.is_finite() && error > 0.0 {
        (1.0 - error.log10().floor()).clamp(0.0, 8.0) as usize
    } else {
        0
    }
}

/// Decimals that show four significant digits of a value, at most eight.
pub(crate) fn decimals_of_value(value: f64) -> usize {
    if value.is_finite() && value != 0.0 {
        (3.0 - value.abs().log10().floor()).clamp(0.0, 8.0) as usize
    } else {
        0
    }
}

/// `0.42 s`, `3.2 s`, `42 s`, `3 min 12 s`, `1 h 02 min`.
pub(crate) fn duration(seconds: f64) -> String {
    if !seconds.is_finite() || seconds < 0.0 {
        return "unknown".to_owned();
    }
    let whole = seconds.round() as u64;
    match seconds {
        s if s < 0.0005 => "0 s".to_owned(),
        s if s < 0.0095 => format!("{:.0} ms", s * 1e3),
        s if s < 0.995 => format!("{s:.2} s"),
        s if s < 9.95 => format!("{s:.1} s"),
        _ if whole < 60 => format!("{whole} s"),
        _ if whole < 3600 => format!("{} min {:02} s", whole / 60, whole % 60),
        _ => format!("{} h {:02} min", whole / 3600, whole % 3600 / 60),
    }
}

/// `1,234,567`.
pub(crate) fn count(amount: u64) -> String {
    group(&amount.to_string())
}

/// `1 step`, `2 steps`.
pub(crate) fn plural(amount: usize, noun: &str) -> String {
    let ending = if amount == 1 { "" } else { "s" };
    format!("{} {noun}{ending}", count(amount as u64))
}

fn not_finite(value: f64) -> String {
    if value.is_nan() {
        "NaN"
    } else if value > 0.0 {
        "∞"
    } else {
        "−∞"
    }
    .to_owned()
}

fn trimmed(digits: &str) -> &str {
    if digits.contains('.') {
        digits.trim_end_matches('0').trim_end_matches('.')
    } else {
        digits
    }
}

fn signed(text: &str) -> String {
    text.replace('-', "−")
}

fn grouped(value: f64, decimals: usize) -> String {
    let text = format!("{:.decimals$}", value.abs());
    let is_zero = text.bytes().all(|byte| matches!(byte, b'0' | b'.'));
    let (whole, fraction) = text
        .split_once('.')
        .map_or((text.as_str(), None), |(w, f)| (w, Some(f)));
    let sign = if value < 0.0 && !is_zero { "−" } else { "" };
    match fraction {
        Some(fraction) => format!("{sign}{}.{fraction}", group(whole)),
        None => format!("{sign}{}", group(whole)),
    }
}

/// Thousands apart, from five digits on.
fn group(digits: &str) -> String {
    if digits.len() < 5 {
        return digits.to_owned();
    }
    let mut text = String::new();
    for (index, digit) in digits.chars().enumerate() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short_and_say_what_they_are() {
        let shown = [
            (0.0, "0"),
            (1.0, "1"),
            (-1.0, "−1"),
            (0.123456, "0.1235"),
            (1.5, "1.5"),
            (2.34567, "2.346"),
            (12345.6, "12,346"),
            (1234.5, "1234"),
            (0.000123456, "0.0001235"),
            (3e-5, "3e−5"),
            (-1.5e-7, "−1.5e−7"),
            (1.25e12, "1.25e12"),
            (99999.9, "100,000"),
            (f64::NAN, "NaN"),
            (f64::NEG_INFINITY, "−∞"),
        ];
        for (value, text) in shown {
            assert_eq!(number(value), text, "{value}");
        }
        assert_eq!(fixed(-0.0004, 2), "0.00");
        assert_eq!(fixed(-1234567.891, 1), "−1,234,567.9");
        assert_eq!(decimals_of_error(0.0123), 3);
        assert_eq!(decimals_of_error(12.0), 0);
        assert_eq!(decimals_of_error(f64::NAN), 0);
    }

    #[test]
    fn durations_have_two_parts_at_most() {
        let shown = [
            (0.004, "4 ms"),
            (0.42, "0.42 s"),
            (0.999, "1.0 s"),
            (9.96, "10 s"),
            (59.6, "1 min 00 s"),
            (192.0, "3 min 12 s"),
            (3719.0, "1 h 01 min"),
            (f64::NAN, "unknown"),
        ];
        for (seconds, text) in shown {
            assert_eq!(duration(seconds), text, "{seconds}");
        }
        assert_eq!(count(1234567), "1,234,567");
        assert_eq!(plural(1, "step"), "1 step");
    }
}
