//! Writes the report of a made-up run, to look at: `showcase OUT.html [done|failed|running]`.

#[path = "../tests/showcase/mod.rs"]
mod showcase;

use std::error::Error;

use showcase::Ending;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let usage = "usage: showcase OUT.html [done|failed|running]";
    let out = arguments.next().ok_or(usage)?;
    let ending = match arguments.next().as_deref() {
        None | Some("done") => Ending::Done,
        Some("failed") => Ending::Failed,
        Some("running") => Ending::Running,
        Some(_) => return Err(usage.into()),
    };
    let folder = tempfile::tempdir()?;
    let (store, history) = showcase::showcase(folder.path(), ending);
    std::fs::write(out, tributary_report::render(&history, &store)?)?;
    Ok(())
}
