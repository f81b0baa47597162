//! The jobs: they write, join, fail, meet, hang, count and name.

use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use tributary_pipeline::*;

/// What the toy jobs of one test share.
#[derive(Clone, Default)]
pub struct Toys {
    /// How often a job's body ran.
    pub runs: Arc<AtomicU32>,
    /// Who is at the meeting point.
    pub meeting: Arc<(Mutex<u32>, Condvar)>,
    /// Set when `hang` begins.
    pub hanging: Arc<AtomicU32>,
}

impl Toys {
    pub fn runs(&self) -> u32 {
        self.runs.load(Ordering::SeqCst)
    }

    fn ran(&self) {
        self.runs.fetch_add(1, Ordering::SeqCst);
    }

    pub fn registry(&self) -> Registry {
        Registry::new()
            .with(Write(self.clone()))
            .with(Concat(self.clone()))
            .with(Flaky(self.clone()))
            .with(Broken)
            .with(Meet(self.clone()))
            .with(Hang(self.clone()))
            .with(Count(self.clone()))
            .with(Name)
    }
}

fn text_output() -> Vec<OutputDeclaration> {
    vec![OutputDeclaration::new("text", "text", "out.txt")]
}

fn read(input: &ResolvedInput) -> Result<String, JobError> {
    let bytes = input.root.get(&input.path)?;
    String::from_utf8(bytes.to_vec()).map_err(|error| JobError::bad_input(error.to_string()))
}

/// Writes a text, and the seed if asked.
pub struct Write(Toys);

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct WriteSettings {
    /// The text.
    pub text: String,
    /// How often.
    #[serde(default = "one")]
    pub times: u32,
    /// Write the seed too.
    #[serde(default)]
    pub seeded: bool,
    #[serde(default)]
    pub scale: Option<f64>,
    #[serde(default)]
    pub style: Style,
}

fn one() -> u32 {
    1
}

#[derive(Debug, Default, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case", deny_unknown_fields)]
pub enum Style {
    #[default]
    Plain,
    Framed {
        width: u8,
    },
}

impl TypedJob for Write {
    type Settings = WriteSettings;
    const KIND: &'static str = "write";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Writes a text.";
    const EXAMPLE: &'static str = "- id: a\n  job: write\n  with: {text: hello}\n";

    fn is_seeded(&self, settings: &WriteSettings) -> bool {
        settings.seeded
    }

    fn inputs(&self, _: &WriteSettings) -> Vec<InputDeclaration> {
        Vec::new()
    }

    fn outputs(&self, _: &WriteSettings) -> Vec<OutputDeclaration> {
        let mut outputs = text_output();
        outputs.push(OutputDeclaration::new("count", "metrics", "count.json"));
        outputs
    }

    fn check(&self, settings: &WriteSettings, _: &PlanContext<'_>) -> Vec<Problem> {
        match settings.times {
            0 => vec![Problem::new("times", "nothing would be written").help("write it at least once")],
            _ => Vec::new(),
        }
    }

    fn estimate(&self, settings: &WriteSettings, _: &PlanContext<'_>) -> Option<Estimate> {
        let bytes_written = Some(settings.text.len() as u64 * u64::from(settings.times));
        Some(Estimate {
            bytes_written,
            ..Estimate::default()
        })
    }

    fn run(&self, settings: &WriteSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        self.0.ran();
        let mut text = settings.text.repeat(settings.times as usize);
        if settings.seeded {
            text.push_str(&context.seed.to_string());
        }
        context
            .progress
            .begin("writing", Some(text.len() as u64), "bytes");
        context.progress.advance(text.len() as u64);
        context.progress.metric("length", text.len() as f64);
        context.publication.put("count.json", text.len().to_string())?;
        context.publication.put("out.txt", text)?;
        let note = Figure::Notes {
            notes: vec![Note::info("written")],
        };
        Ok(Outcome::default().fact("times", settings.times).figure(note))
    }
}

/// Joins texts.
pub struct Concat(Toys);

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ConcatSettings {
    /// The texts.
    pub parts: Vec<InputRef>,
    #[serde(default)]
    pub separator: String,
}

impl TypedJob for Concat {
    type Settings = ConcatSettings;
    const KIND: &'static str = "concat";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Joins texts.";
    const EXAMPLE: &'static str = "- id: b\n  job: concat\n  with:\n    parts: [\"${a.text}\"]\n";

    fn is_seeded(&self, _: &ConcatSettings) -> bool {
        false
    }

    fn inputs(&self, settings: &ConcatSettings) -> Vec<InputDeclaration> {
        let part = |(index, part)| InputDeclaration::new(format!("parts.{index}"), &["text", "file"], part);
        settings.parts.iter().enumerate().map(part).collect()
    }

    fn outputs(&self, _: &ConcatSettings) -> Vec<OutputDeclaration> {
        text_output()
    }

    fn check(&self, _: &ConcatSettings, plan: &PlanContext<'_>) -> Vec<Problem> {
        let is_bad = |input: &ResolvedInput| read(input).is_ok_and(|text| text.contains("poison"));
        let bad = plan.inputs().filter(|(_, input)| is_bad(input));
        bad.map(|(field, _)| Problem::new(field, "this text is poisoned"))
            .collect()
    }

    fn run(&self, settings: &ConcatSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        self.0.ran();
        let mut texts = Vec::new();
        for index in 0..settings.parts.len() {
            texts.push(read(context.input(&format!("parts.{index}"))?)?);
        }
        context
            .publication
            .put("out.txt", texts.join(&settings.separator))?;
        Ok(Outcome::default())
    }
}

/// Fails so many times in a way that passes.
pub struct Flaky(Toys);

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct FlakySettings {
    pub fails: u32,
}

impl TypedJob for Flaky {
    type Settings = FlakySettings;
    const KIND: &'static str = "flaky";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Fails, then works.";
    const EXAMPLE: &'static str = "- id: f\n  job: flaky\n  with: {fails: 1}\n";

    fn inputs(&self, _: &FlakySettings) -> Vec<InputDeclaration> {
        Vec::new()
    }

    fn outputs(&self, _: &FlakySettings) -> Vec<OutputDeclaration> {
        text_output()
    }

    fn run(&self, settings: &FlakySettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        self.0.ran();
        if context.attempt < settings.fails {
            return Err(JobError::new(JobErrorKind::Unavailable, "the toy box is closed"));
        }
        context.publication.put("out.txt", "open")?;
        Ok(Outcome::default())
    }
}

/// Fails for good, in one of several ways.
pub struct Broken;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BrokenSettings {
    pub how: How,
    #[serde(default)]
    pub from: Option<InputRef>,
}

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum How {
    BadInput,
    Panic,
    Forget,
}

impl TypedJob for Broken {
    type Settings = BrokenSettings;
    const KIND: &'static str = "broken";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Fails.";
    const EXAMPLE: &'static str = "- id: x\n  job: broken\n  with: {how: panic}\n";

    fn inputs(&self, settings: &BrokenSettings) -> Vec<InputDeclaration> {
        settings
            .from
            .iter()
            .map(|from| InputDeclaration::new("from", &["text"], from))
            .collect()
    }

    fn outputs(&self, _: &BrokenSettings) -> Vec<OutputDeclaration> {
        text_output()
    }

    fn run(&self, settings: &BrokenSettings, _: &mut JobContext) -> Result<Outcome, JobError> {
        match settings.how {
            How::BadInput => Err(JobError::bad_input("the input is rotten")),
            How::Panic => panic!("toys everywhere"),
            How::Forget => Ok(Outcome::default()),
        }
    }
}

/// Ends when so many of its kind run at once, or fails after ten seconds.
pub struct Meet(Toys);

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct MeetSettings {
    pub people: u32,
    pub name: String,
}

impl TypedJob for Meet {
    type Settings = MeetSettings;
    const KIND: &'static str = "meet";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Waits for others of its kind.";
    const EXAMPLE: &'static str = "- id: m\n  job: meet\n  with: {people: 2, name: a}\n";

    fn inputs(&self, _: &MeetSettings) -> Vec<InputDeclaration> {
        Vec::new()
    }

    fn outputs(&self, _: &MeetSettings) -> Vec<OutputDeclaration> {
        text_output()
    }

    fn run(&self, settings: &MeetSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        let (here, arrived) = &*self.0.meeting;
        let mut here = here.lock().unwrap();
        *here += 1;
        arrived.notify_all();
        let wait = |here: &mut u32| *here < settings.people;
        let (mut here, result) = arrived
            .wait_timeout_while(here, Duration::from_secs(10), wait)
            .unwrap();
        if result.timed_out() {
            *here -= 1;
            return Err(JobError::bad_input("nobody came"));
        }
        context.publication.put("out.txt", settings.name.clone())?;
        Ok(Outcome::default())
    }
}

/// Works until it is cancelled.
pub struct Hang(Toys);

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HangSettings {}

impl TypedJob for Hang {
    type Settings = HangSettings;
    const KIND: &'static str = "hang";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Never ends.";
    const EXAMPLE: &'static str = "- id: h\n  job: hang\n";

    fn inputs(&self, _: &HangSettings) -> Vec<InputDeclaration> {
        Vec::new()
    }

    fn outputs(&self, _: &HangSettings) -> Vec<OutputDeclaration> {
        text_output()
    }

    fn run(&self, _: &HangSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        self.0.hanging.fetch_add(1, Ordering::SeqCst);
        loop {
            context.cancellation.check()?;
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

/// Counts to ten in checkpoints; stops half-way the first time.
pub struct Count(Toys);

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct CountSettings {}

impl TypedJob for Count {
    type Settings = CountSettings;
    const KIND: &'static str = "count";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Counts, with checkpoints.";
    const EXAMPLE: &'static str = "- id: c\n  job: count\n";

    fn inputs(&self, _: &CountSettings) -> Vec<InputDeclaration> {
        Vec::new()
    }

    fn outputs(&self, _: &CountSettings) -> Vec<OutputDeclaration> {
        text_output()
    }

    fn run(&self, _: &CountSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        let kept = context.checkpoints.head("n")?;
        let mut n: u32 = match kept {
            Some(_) => String::from_utf8_lossy(&context.checkpoints.get("n")?)
                .parse()
                .unwrap(),
            None => 0,
        };
        let is_fresh = n == 0;
        while n < 10 {
            self.0.ran();
            n += 1;
            context.checkpoints.put("n", n.to_string())?;
            if is_fresh && n == 5 {
                return Err(JobError::new(JobErrorKind::BadInput, "stumbled at five"));
            }
        }
        context.publication.put("out.txt", n.to_string())?;
        Ok(Outcome::default())
    }
}

/// Writes the name of its input.
pub struct Name;

#[derive(Debug, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NameSettings {
    pub of: InputRef,
}

impl TypedJob for Name {
    type Settings = NameSettings;
    const KIND: &'static str = "name";
    const VERSION: u32 = 1;
    const SUMMARY: &'static str = "Writes the name of its input.";
    const EXAMPLE: &'static str = "- id: n\n  job: name\n  with:\n    of: ${a.text}\n";

    fn is_seeded(&self, _: &NameSettings) -> bool {
        false
    }

    fn inputs(&self, settings: &NameSettings) -> Vec<InputDeclaration> {
        vec![InputDeclaration::new("of", &["text"], &settings.of).named()]
    }

    fn outputs(&self, _: &NameSettings) -> Vec<OutputDeclaration> {
        text_output()
    }

    fn run(&self, _: &NameSettings, context: &mut JobContext) -> Result<Outcome, JobError> {
        let label = context.input("of")?.label.clone();
        context.publication.put("out.txt", label)?;
        Ok(Outcome::default())
    }
}
