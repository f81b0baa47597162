//! A foreign model into a local Hugging Face directory: `cargo run --release -p tributary-tensorfile
//! --example import -- SOURCE DIRECTORY`. The library at its smallest; `trib import` publishes an artifact.

use std::io::Write;
use std::path::PathBuf;

use tributary_tensorfile::{DEFAULT_SHARD_BYTES, Foreign, ModelLayout, write_model};

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1).map(PathBuf::from);
    let (Some(source), Some(target)) = (arguments.next(), arguments.next()) else {
        return Err("give a source file and a target directory".into());
    };
    let foreign = Foreign::open(&source)?;
    std::fs::create_dir_all(&target)?;
    std::fs::write(
        target.join("config.json"),
        serde_json::to_vec_pretty(&foreign.config)?,
    )?;
    for (name, bytes) in &foreign.files {
        std::fs::write(target.join(name), bytes)?;
    }
    let layout = ModelLayout::plan(&foreign.tensors, DEFAULT_SHARD_BYTES, &[])?;
    let mut index = 0;
    write_model(
        &layout,
        &mut |name| Ok(Box::new(std::fs::File::create(target.join(name))?) as Box<dyn Write>),
        &mut |_, sink| {
            let values = foreign.read_f32(index).map_err(std::io::Error::other)?;
            index += 1;
            sink.write_all(bytemuck::cast_slice(&values))
        },
    )?;
    Ok(())
}
