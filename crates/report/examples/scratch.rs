//! scratch
fn main() -> Result<(), Box<dyn std::error::Error>> {
    let store = tributary_store::Store::open("/tmp/qs")?;
    let history = tributary_pipeline::RunHistory::latest(&store)?;
    std::fs::write("/tmp/qs.html", tributary_report::render(&history, &store)?)?;
    Ok(())
}
