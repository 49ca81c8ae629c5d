//! The socket's state machine, whatever a client sends: it never panics, and after its close it does nothing more; an operation is started
//! once, stopped at most once, and never more of them are under way than allowed.
#![no_main]

use std::collections::HashSet;
use std::time::Duration;

use klio_api::stream::operations::Limits;
use klio_api::ws::protocol::{Input, Output, Protocol};
use libfuzzer_sys::fuzz_target;

const OPERATIONS: usize = 5;

/// A line is a message; one that begins with a control character stands for what the gateway itself has to say.
fn input(line: &str, under_way: &HashSet<u64>) -> Input {
    let some = under_way.iter().min().copied().unwrap_or(7);
    match line.as_bytes().first() {
        Some(1) => Input::Accepted { refresh: false },
        Some(2) => Input::Accepted { refresh: true },
        Some(3) => Input::Refused(line.to_owned()),
        Some(4) => Input::Busy(line.to_owned()),
        Some(5) => Input::Next(some, line.as_bytes().to_vec().into()),
        Some(6) => Input::Failed(some, b"[]".to_vec()),
        Some(7) => Input::Done(some),
        Some(8) => Input::Binary,
        Some(14) => Input::InitTimeout,
        Some(15) => Input::TooLarge(10),
        _ => Input::Text(line.to_owned(), Duration::from_millis(line.len() as u64)),
    }
}

fuzz_target!(|text: &str| {
    let mut protocol = Protocol::new(Limits {
        operations: OPERATIONS,
        starts_per_second: 1_000,
    });
    let (mut under_way, mut started) = (HashSet::new(), HashSet::new());
    for line in text.split('\n') {
        let was_closed = protocol.is_closed();
        let input = input(line, &under_way);
        if let Input::Done(key) | Input::Failed(key, _) = &input {
            under_way.remove(key);
        }
        let outputs = protocol.on(input);
        assert!(!was_closed || outputs.is_empty(), "something is done after the close");
        let mut closed = false;
        for output in outputs {
            assert!(!closed, "something is done after the close");
            match output {
                Output::Start(key, _) => {
                    assert!(started.insert(key), "started twice");
                    under_way.insert(key);
                    assert!(under_way.len() <= OPERATIONS);
                }
                Output::Stop(key) => assert!(under_way.remove(&key), "what is not under way is stopped"),
                Output::Close(code, reason) => {
                    // RFC 6455, 5.5.1: a control frame's payload has at most 125 bytes, two of them the code.
                    assert!((1_000..5_000).contains(&code) && reason.len() <= 123, "{code} {reason}");
                    closed = true;
                }
                Output::Send(_) | Output::Verify { .. } => {}
            }
        }
        assert_eq!(closed || was_closed, protocol.is_closed());
    }
});
