//! scratch
#![allow(clippy::unwrap_used)]
use tributary_pipeline::*;
#[test]
fn quickstart() {
    let source = Source::read(std::path::Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../../pipelines/quickstart.yaml")), &[]).unwrap();
    let machine = Machine { cpus: 2, memory: 8 << 30, gpus: 0, device: "cpu".into(), system: "linux x86_64".into() };
    let store = tributary_store::Store::open("/tmp/qs").unwrap();
    let planned = plan_in(source, &tributary_jobs::registry(), &machine, store).unwrap();
    println!("{:?}", run(&planned, RunOptions::new(&NoObserver)).unwrap().status);
}
