//! `simulate`: the simulated API on a loopback port, for a shell to be pointed at.

use std::net::Ipv4Addr;

use super::args::SimulateArgs;
use super::planning::how_to_read;
use super::signals::Signals;
use super::target;
use super::{Closing, complain, say};
use crate::config::{Loaded, Sources, load};
use crate::error::Error;
use crate::input;
use crate::model::{Bound, DesktopId, Kind};
use crate::sim::{App, Scenario, Seat, World, serve};

/// Desktops of the world that is made where no input names one.
const OWN_DESKTOPS: u128 = 12;
/// The project that it serves, by every way of asking for it.
const PROJECT: &str = "project-1";

/// `simulate [INPUT]`.
pub(super) fn command(args: &SimulateArgs) -> Result<Closing, Error> {
    let sources =
        Sources { options: args.reading.layer()?, config: args.config.as_deref(), directory: "", planned: None };
    let Loaded { settings, .. } = load(sources, std::env::vars_os())?;
    let (seats, addresses) = match &args.input {
        None => (own_world(), Vec::new()),
        Some(path) => {
            let source = if path.as_os_str() == "-" {
                input::Source::Stream { name: "standard input".to_owned(), reader: Box::new(std::io::stdin()) }
            } else {
                input::Source::Path(path.clone())
            };
            let input = input::read(source, &how_to_read(&settings))?;
            (target::seats(&input), target::addresses(&input))
        }
    };
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build();
    let runtime = runtime.map_err(|error| Error::Internal(format!("no runtime: {error}")))?;
    runtime.block_on(serve_until_stopped(args, seats, addresses))?;
    runtime.shutdown_background();
    Ok(Closing::silent())
}

async fn serve_until_stopped(
    args: &SimulateArgs,
    seats: Vec<Seat>,
    addresses: Vec<(String, String)>,
) -> Result<(), Error> {
    let signals = Signals::watch()?;
    let (mut world, scenario) = World::rehearse(seats, args.seed);
    for (name, email) in addresses {
        world.introduce(&name, &email);
    }
    let scenario = Scenario { project_id: Some(PROJECT.to_owned()), ..scenario };
    let app = App::without_log(world, scenario);
    let trouble = |source| Error::File {
        verb: "listen on",
        path: format!("127.0.0.1:{}", args.port.unwrap_or(0)).into(),
        source,
    };
    let listener =
        tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, args.port.unwrap_or(0))).await.map_err(trouble)?;
    let address = listener.local_addr().map_err(trouble)?;
    say(&format!(
        "export BATCH_DETACH_ENDPOINT=http://{address}\nexport BATCH_DETACH_IAM_ENDPOINT=http://{address}\n\
         export BATCH_DETACH_PROJECT_ID={PROJECT}\nexport HW_AUTH_TOKEN=simulator\n"
    ))?;
    complain("the simulator serves until it is interrupted (Ctrl-C); paste the lines above into another shell");
    serve(app, listener, signals.stop.cancelled_owned()).await.map_err(trouble)
}

/// A small world for a first look around.
fn own_world() -> Vec<Seat> {
    (0..OWN_DESKTOPS)
        .filter_map(|n| {
            let hex = format!("{:032x}", 0x51ab_0000_0000_0000_0000_0000_0000_0000_u128 + n);
            let id = format!("{}-{}-{}-{}-{}", &hex[..8], &hex[8..12], &hex[12..16], &hex[16..20], &hex[20..]);
            Some(Seat {
                desktop: DesktopId::parse(&id)?,
                name: format!("PC-{n:03}"),
                bound: Bound {
                    kind: Kind::User,
                    user_name: format!("user-{n:02}"),
                    user_id: None,
                    user_group: None,
                    domain: None,
                },
            })
        })
        .collect()
}
