//! A server that takes every batch request at once, so that nothing but the client is measured:
//! `cargo bench --bench server -- --port 8099 --latency-ms 200`. With `--estate in.csv`, each of whose lines has a desktop,
//! a user and a type, it also shows these desktops, page by page, each with its user bound; filters are ignored.
//!
//! With `--world in.csv` in its place it is the whole service of the simulator, whose desktops lose their users 0.8 s after a
//! write.
//!
//! `GET /stats` tells how many writes began, when, over how long, and how close together at the closest; `GET /reset` counts
//! from zero again.

use std::future::pending;
use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::{Ipv4Addr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};

use batch_detach::testing::build;
use batch_detach::testing::sim::{self, App, Physics, Scenario, World};

fn main() -> std::io::Result<()> {
    let arguments: Vec<String> = std::env::args().collect();
    let after = |name: &str| {
        let value = arguments.iter().position(|word| word == name).and_then(|at| arguments.get(at + 1));
        value.and_then(|value| value.parse::<u16>().ok())
    };
    // Run among all benches, it has nothing to measure.
    let Some(port) = after("--port") else { return Ok(()) };
    let latency = Duration::from_millis(after("--latency-ms").unwrap_or(0).into());
    let file = |name: &str| arguments.iter().position(|word| word == name).and_then(|at| arguments.get(at + 1));
    if let Some(path) = file("--world") {
        return simulate(&std::fs::read_to_string(path)?, port, latency);
    }
    let estate: Arc<Vec<String>> = match file("--estate") {
        Some(path) => std::fs::read_to_string(path)?.lines().skip(1).filter_map(desktop).collect::<Vec<_>>().into(),
        None => Arc::default(),
    };
    let begun: Arc<Mutex<Vec<Instant>>> = Arc::default();
    for connection in TcpListener::bind((Ipv4Addr::LOCALHOST, port))?.incoming() {
        let (connection, begun, estate) = (connection?, Arc::clone(&begun), Arc::clone(&estate));
        std::thread::spawn(move || serve(&connection, latency, &begun, &estate));
    }
    Ok(())
}

/// The simulator's service, until it is killed.
fn simulate(list: &str, port: u16, latency: Duration) -> std::io::Result<()> {
    let seats = list.lines().skip(1).filter_map(|line| {
        let mut cells = line.split(',');
        let (desktop, user, kind) = (cells.next()?, cells.next()?, cells.next()?);
        let mark = if kind == "GROUP" { "%" } else { "" };
        Some(build::seat(desktop, &format!("{mark}{user}")))
    });
    let physics = Physics { latency, detach_lag: Duration::from_millis(800), ..Physics::default() };
    tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build()?.block_on(async {
        let app = App::without_log(World::from_seats(seats, 1), Scenario { world: physics, ..Scenario::default() });
        let listener = tokio::net::TcpListener::bind((Ipv4Addr::LOCALHOST, port)).await?;
        sim::serve(app, listener, pending()).await
    })
}

/// A line of the input as a desktop of the list.
fn desktop(line: &str) -> Option<String> {
    let mut cells = line.split(',');
    let (id, user, kind) = (cells.next()?, cells.next()?, cells.next()?);
    Some(format!(
        r#"{{"desktop_id":"{id}","computer_name":"PC","status":"ACTIVE","attach_state":"ATTACHED","desktop_type":"DEDICATED",
        "attach_user_infos":[{{"user_id":"","user_name":"{user}","user_group":"users","type":"{kind}"}}]}}"#
    ))
}

fn page(request: &str, estate: &[String]) -> String {
    let number = |name: &str| {
        let value = request.split_once(&format!("{name}="))?.1;
        value.split(|c: char| !c.is_ascii_digit()).next()?.parse::<usize>().ok()
    };
    let from = number("offset").unwrap_or(0).min(estate.len());
    let to = from.saturating_add(number("limit").unwrap_or(100)).min(estate.len());
    format!(r#"{{"total_count":{},"desktops":[{}]}}"#, estate.len(), estate[from..to].join(","))
}

/// One connection, request after request; `None` once it has ended.
fn serve(connection: &TcpStream, latency: Duration, begun: &Mutex<Vec<Instant>>, estate: &[String]) -> Option<()> {
    connection.set_nodelay(true).ok()?;
    let mut reader = BufReader::with_capacity(64 * 1024, connection);
    let (mut line, mut body) = (String::new(), Vec::new());
    loop {
        line.clear();
        if reader.read_line(&mut line).ok()? == 0 {
            return None;
        }
        let arrived = Instant::now();
        let request = line.clone();
        let mut length = 0_u64;
        loop {
            line.clear();
            reader.read_line(&mut line).ok()?;
            let header = line.trim_end();
            if header.is_empty() {
                break;
            }
            if let Some((name, value)) = header.split_once(':')
                && name.eq_ignore_ascii_case("content-length")
            {
                length = value.trim().parse().ok()?;
            }
        }
        body.clear();
        (&mut reader).take(length).read_to_end(&mut body).ok()?;
        let mut all = begun.lock().unwrap_or_else(PoisonError::into_inner);
        let answer = if request.contains(" /stats ") {
            stats(&all)
        } else if request.contains(" /reset ") {
            all.clear();
            "{}".to_owned()
        } else if request.starts_with("GET ") {
            drop(all);
            std::thread::sleep(latency.saturating_sub(arrived.elapsed()));
            page(&request, estate)
        } else {
            all.push(arrived);
            drop(all);
            std::thread::sleep(latency.saturating_sub(arrived.elapsed()));
            r#"{"failed_operation_list":[]}"#.to_owned()
        };
        let head = "HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nX-Request-Id: bench\r\nContent-Length: ";
        let mut connection = connection;
        connection.write_all(format!("{head}{}\r\n\r\n{answer}", answer.len()).as_bytes()).ok()?;
    }
}

fn stats(begun: &[Instant]) -> String {
    let mut begun = begun.to_vec();
    begun.sort_unstable();
    let span = begun.first().zip(begun.last()).map_or(Duration::ZERO, |(first, last)| *last - *first);
    let since_first = begun.first().map_or(Duration::ZERO, Instant::elapsed);
    let first = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().saturating_sub(since_first);
    let first_gap = begun.first().zip(begun.get(1)).map_or(Duration::ZERO, |(first, second)| *second - *first);
    let closest = begun.windows(2).map(|pair| pair[1] - pair[0]).min().unwrap_or_default();
    format!(
        "{{\"writes\":{},\"first_at\":{:.3},\"span_s\":{:.3},\"first_gap_s\":{:.3},\"closest_ms\":{:.3}}}\n",
        begun.len(),
        first.as_secs_f64(),
        span.as_secs_f64(),
        first_gap.as_secs_f64(),
        closest.as_secs_f64() * 1_000.0
    )
}
