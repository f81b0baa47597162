//! The test server as a program: `s3_server DIR PORT [--seconds N] [--faults PER_MILLE] [--seed N]`.
//!
//! Loopback only, and it ends by itself after `--seconds` (600 unless told). Prints the variables a client needs.

use std::io::Write;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use tributary_testkit::faults::FaultPlan;
use tributary_testkit::s3::{BUCKET, S3Server};

const USAGE: &str = "usage: s3_server DIR PORT [--seconds N] [--faults PER_MILLE] [--seed N]";

struct Arguments {
    folder: PathBuf,
    port: u16,
    seconds: u64,
    faults: u64,
    seed: u64,
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
    };
    while let Some(name) = given.next() {
        let value = given.next()?.parse().ok()?;
        match name.as_str() {
            "--seconds" => arguments.seconds = value,
            "--faults" => arguments.faults = value,
            "--seed" => arguments.seed = value,
            _ => return None,
        }
    }
    Some(arguments)
}

fn main() -> ExitCode {
    let mut out = std::io::stdout().lock();
    let Some(arguments) = arguments() else {
        let _ = writeln!(std::io::stderr(), "{USAGE}");
        return ExitCode::from(2);
    };
    let plan = FaultPlan::all(arguments.seed, arguments.faults);
    let server = match S3Server::start_in(&arguments.folder, arguments.port, plan) {
        Ok(server) => server,
        Err(error) => {
            let _ = writeln!(
                std::io::stderr(),
                "cannot serve {}: {error}",
                arguments.folder.display()
            );
            return ExitCode::from(69);
        }
    };
    for (name, value) in server.environment() {
        let _ = writeln!(out, "{name}={value}");
    }
    let _ = writeln!(out, "# s3://{BUCKET}/");
    let _ = out.flush();
    std::thread::sleep(Duration::from_secs(arguments.seconds));
    let _ = writeln!(out, "# {} faults", server.faults().total());
    ExitCode::SUCCESS
}
