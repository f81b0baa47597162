//! What a run of nextest leaves behind: how many tests there were, and what they said they skip.

use std::collections::BTreeSet;

/// How a run went.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Summary {
    pub(crate) tests: usize,
    pub(crate) failed: usize,
    /// A test's name and what it skips.
    pub(crate) skips: BTreeSet<(String, String)>,
}

/// What a test says when it does nothing, or less.
const SKIPPED: &str = "skipped: ";

impl Summary {
    /// Reads a JUnit report as nextest writes it, which is to say: no general XML.
    pub(crate) fn of_junit(report: &str) -> Self {
        let mut summary = Self::default();
        let mut test = String::new();
        for line in report.lines() {
            let tag = line.trim_start();
            if tag.starts_with("<testsuites ") {
                let count = |name| {
                    attribute(tag, name)
                        .and_then(|count| count.parse().ok())
                        .unwrap_or(0)
                };
                (summary.tests, summary.failed) = (count("tests"), count("failures") + count("errors"));
            } else if tag.starts_with("<testcase ") {
                test = attribute(tag, "name").unwrap_or_default();
            }
            let said = line.rsplit("<system-err>").next().unwrap_or(line);
            let said = said.split("</system-err>").next().unwrap_or(said);
            summary.note(&test, &unescape(said));
        }
        summary
    }

    /// Reads one more line that `cargo test -- --show-output` prints.
    pub(crate) fn read_cargo(&mut self, test: &mut String, line: &str) {
        if let Some(name) = line
            .strip_prefix("---- ")
            .and_then(|rest| rest.strip_suffix(" stdout ----"))
        {
            name.clone_into(test);
        } else if let Some(result) = line.strip_prefix("test result: ") {
            let before = |word| {
                let count = result
                    .split(word)
                    .next()
                    .and_then(|before| before.split_whitespace().next_back());
                count.and_then(|count| count.parse::<usize>().ok()).unwrap_or(0)
            };
            let failed = before(" failed");
            self.tests += before(" passed") + failed;
            self.failed += failed;
        }
        self.note(test, line);
    }

    fn note(&mut self, test: &str, line: &str) {
        if let Some(reason) = line.trim_start().strip_prefix(SKIPPED) {
            self.skips.insert((test.to_owned(), reason.trim_end().to_owned()));
        }
    }
}

fn attribute(tag: &str, name: &str) -> Option<String> {
    let (_, value) = tag.split_once(&format!(" {name}=\""))?;
    Some(unescape(value.split_once('"')?.0))
}

fn unescape(text: &str) -> String {
    let text = text
        .replace("&lt;", "<")
        .replace("&gt;", ">")
        .replace("&quot;", "\"")
        .replace("&apos;", "'");
    text.replace("&amp;", "&")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn skip(test: &str, reason: &str) -> (String, String) {
        (test.to_owned(), reason.to_owned())
    }

    #[test]
    fn a_report_of_nextest_is_read() {
        let report = r#"<?xml version="1.0" encoding="UTF-8"?>
<testsuites name="nextest-run" tests="3" failures="1" errors="0" uuid="x" timestamp="x" time="0.010">
    <testsuite name="a::b" tests="3" disabled="0" errors="0" failures="1">
        <testcase name="compares" classname="a::b" time="0.003">
            <system-out>
running 1 test
</system-out>
            <system-err>skipped: A &amp; B are not &quot;there&quot;
skipped: neither is C</system-err>
        </testcase>
        <testcase name="works" classname="a::b" time="0.003">
            <system-err>nothing was skipped: it ran</system-err>
        </testcase>
        <testcase name="fails" classname="a::b" time="0.003">
        </testcase>
    </testsuite>
</testsuites>"#;
        let skips = [
            skip("compares", "A & B are not \"there\""),
            skip("compares", "neither is C"),
        ];
        assert_eq!(
            Summary::of_junit(report),
            Summary {
                tests: 3,
                failed: 1,
                skips: skips.into()
            }
        );
    }

    #[test]
    fn the_words_of_cargo_test_are_read() {
        let words = "running 3 tests\ntest compares ... ok\n\nsuccesses:\n\n---- compares stdout ----\nskipped: no A\n
test result: FAILED. 2 passed; 1 failed; 0 ignored; 0 measured; 0 filtered out; finished in 0.00s\n
test result: ok. 4 passed; 0 failed; 1 ignored; 0 measured; 0 filtered out; finished in 0.00s";
        let (mut summary, mut test) = (Summary::default(), String::new());
        words.lines().for_each(|line| summary.read_cargo(&mut test, line));
        assert_eq!(
            summary,
            Summary {
                tests: 7,
                failed: 1,
                skips: [skip("compares", "no A")].into()
            }
        );
    }
}
