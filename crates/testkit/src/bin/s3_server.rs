//! The test server as a program: `s3_server DIR PORT [--seconds N] [--faults PER_MILLE] [--seed N] [--count yes]`.
//!
//! Loopback only, and it ends by itself after `--seconds` (600 unless told). Prints the variables a client needs. With
//! `--count yes` it is the server for measurements: it serves the files below `DIR/bucket`, keeps uploads in memory,
//! and tells at `/-/traffic` what went over the network (`scripts/bench_merge_s3.py` reads it).

use std::io::{self, Write};
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tributary_testkit::faults::FaultPlan;
use tributary_testkit::s3::{BUCKET, CountingServer, S3Server};

const USAGE: &str =
    "usage: s3_server DIR PORT [--seconds N] [--faults PER_MILLE] [--seed N] [--count yes|no]";

struct Arguments {
    folder: PathBuf,
    port: u16,
    seconds: u64,
    faults: u64,
    seed: u64,
    counts: bool,
}

fn arguments() -> Option<Arguments> {
    let mut given = std::env::args().skip(1);
    let folder = PathBuf::from(given.next()?);
    let port = given.next()?.parse().ok()?;
    let mut arguments = Arguments {
        folder,
        port,
        seconds: 600,
        faults: 0,
        seed: 0,
        counts: false,
    };
    while let Some(name) = given.next() {
        let value = given.next()?;
        match name.as_str() {
            "--seconds" => arguments.seconds = value.parse().ok()?,
            "--faults" => arguments.faults = value.parse().ok()?,
            "--seed" => arguments.seed = value.parse().ok()?,
            "--count" => arguments.counts = value == "yes",
            _ => return None,
        }
    }
    Some(arguments)
}

/// Says how to reach the server, and waits.
fn wait(environment: Vec<(&'static str, String)>, seconds: u64) {
    let mut out = io::stdout().lock();
    for (name, value) in environment {
        let _ = writeln!(out, "{name}={value}");
    }
    let _ = writeln!(out, "# s3://{BUCKET}/");
    let _ = out.flush();
    std::thread::sleep(Duration::from_secs(seconds));
}

fn serve(arguments: &Arguments) -> io::Result<()> {
    if arguments.counts {
        let server = CountingServer::start_in(&arguments.folder, arguments.port)?;
        wait(server.environment(), arguments.seconds);
    } else {
        let plan = FaultPlan::all(arguments.seed, arguments.faults);
        let server = S3Server::start_in(&arguments.folder, arguments.port, plan)?;
        wait(server.environment(), arguments.seconds);
        let _ = writeln!(io::stdout(), "# {} faults", server.faults().total());
    }
    Ok(())
}

fn main() -> ExitCode {
    let Some(arguments) = arguments() else {
        let _ = writeln!(io::stderr(), "{USAGE}");
        return ExitCode::from(2);
    };
    match serve(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            let folder = arguments.folder.display();
            let _ = writeln!(io::stderr(), "cannot serve {folder}: {error}");
            ExitCode::from(69)
        }
    }
}
