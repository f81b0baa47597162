//! `trib jobs [KIND]`.

use clap::Args;
use serde_json::{Value, json};
use tributary_pipeline::{Job, Registry, suggestion};

use crate::exit::Failure;
use crate::output::{pretty, stdout_width, text};
use crate::screen::{job_list, job_page};

#[derive(Args)]
#[command(after_long_help = "Examples:\n  trib jobs\n  trib jobs train.lm\n  trib jobs train.lm --json")]
pub(crate) struct Options {
    /// Show the settings of this kind
    kind: Option<String>,
}

pub(crate) fn run(options: &Options, json: bool) -> Result<(), Failure> {
    let registry = tributary_jobs::registry();
    let Some(kind) = &options.kind else {
        if json {
            let list: Vec<Value> = registry.jobs().map(|job| outline(job.as_ref())).collect();
            return pretty(&list);
        }
        return text(&job_list(&registry, stdout_width()));
    };
    let job = registry.get(kind).ok_or_else(|| unknown(kind, &registry))?;
    if json {
        let mut object = outline(job.as_ref());
        object["example"] = job.example().into();
        object["settings"] = job.schema();
        return pretty(&object);
    }
    text(&job_page(job.as_ref(), stdout_width()))
}

fn outline(job: &dyn Job) -> Value {
    json!({"kind": job.kind(), "version": job.version(), "summary": job.summary()})
}

fn unknown(kind: &str, registry: &Registry) -> Failure {
    let advice = suggestion(kind, "there are", registry.kinds()).unwrap_or_default();
    Failure::usage(format!("there is no job `{kind}`; {advice}"))
}
