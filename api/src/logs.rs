//! Logs: to stderr, for people or as JSON.
//!
//! A line for each request, each written by itself, would cost a small request some twentieth of its time. So where nobody looks on
//! (stderr is no terminal), lines are gathered and written together, within [`LATE`]; a warning or an error is written at once, with
//! all that stand before it. What was gathered is written when the process ends, unless it is killed.

use std::fmt::Debug;
use std::io::{self, IsTerminal, Write};
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tracing::field::Field;
use tracing::{Level, Metadata};
use tracing_subscriber::EnvFilter;
use tracing_subscriber::field::MakeExt;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::fmt::format::{self, FormatFields, Writer};

use crate::config::{Log, LogFormat};

/// How late a line may be written.
const LATE: Duration = Duration::from_millis(20);
/// So many bytes are not gathered further: who logs the next line writes them.
const MOST: usize = 64 * 1024;

/// Logging, as long as it is kept.
#[derive(Debug)]
pub struct Logs(Option<Lines<io::Stderr>>);

/// Starts logging; a second call changes nothing.
pub fn start(config: &Log) -> Logs {
    // A filter that names modules is taken as it is; a bare level is not meant for what the migrations' library says of each step.
    let bare = config.level == "info";
    let level = if bare { "info,sea_orm_migration=warn" } else { &config.level };
    let filter = EnvFilter::try_new(level).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter);
    let terminal = io::stderr().is_terminal();
    // A program may have its own subscriber (tests do); then that one stays.
    if terminal {
        let logs = logs.with_writer(io::stderr);
        let _ = match config.format {
            LogFormat::Human => logs.with_target(false).with_ansi(true).compact().try_init(),
            LogFormat::Json => logs.json().flatten_event(true).try_init(),
        };
        return Logs(None);
    }
    let Ok(lines) = Lines::gathered(io::stderr()) else {
        // No thread could be started; whatever comes of that is told elsewhere.
        let _ = logs.with_writer(io::stderr).try_init();
        return Logs(None);
    };
    let logs = logs.with_writer(lines.clone());
    let _ = match config.format {
        LogFormat::Human => logs.with_target(false).with_ansi(false).compact().fmt_fields(plain()).try_init(),
        LogFormat::Json => logs.json().flatten_event(true).try_init(),
    };
    Logs(Some(lines))
}

/// A line's message and fields as they look by default. By default each piece of each field asks whether it is to be coloured, which
/// takes as long as the rest of the line.
fn plain() -> impl for<'w> FormatFields<'w> + Send + Sync + 'static {
    let field = |out: &mut Writer<'_>, field: &Field, value: &dyn Debug| match field.name() {
        "message" => write!(out, "{value:?}"),
        name => write!(out, "{name}={value:?}"),
    };
    format::debug_fn(field).delimited(" ")
}

impl Drop for Logs {
    fn drop(&mut self) {
        if let Some(lines) = &self.0 {
            lines.flush();
        }
    }
}

/// Lines on their way.
#[derive(Debug)]
struct Lines<W>(Arc<Shared<W>>);

#[derive(Debug)]
struct Shared<W> {
    gathered: Mutex<Vec<u8>>,
    some: Condvar,
    /// Taken before `gathered`, so that what was gathered first is written first.
    out: Mutex<W>,
}

impl<W> Clone for Lines<W> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

/// Bytes: no panic leaves them half done.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl<W: Write + Send + 'static> Lines<W> {
    /// With a thread that writes what was gathered.
    fn gathered(out: W) -> io::Result<Self> {
        let shared = Arc::new(Shared {
            gathered: Mutex::default(),
            some: Condvar::new(),
            out: Mutex::new(out),
        });
        let lines = Self(shared.clone());
        std::thread::Builder::new().name("klio-log".into()).spawn(move || {
            loop {
                let mut gathered = lock(&shared.gathered);
                while gathered.is_empty() {
                    gathered = shared.some.wait(gathered).unwrap_or_else(PoisonError::into_inner);
                }
                drop(gathered);
                std::thread::sleep(LATE);
                shared.flush();
            }
        })?;
        Ok(lines)
    }
}

impl<W: Write> Lines<W> {
    fn flush(&self) {
        self.0.flush();
    }
}

impl<W: Write> Shared<W> {
    fn flush(&self) {
        let mut out = lock(&self.out);
        let bytes = std::mem::take(&mut *lock(&self.gathered));
        // Nobody can be told that there is no one to tell.
        let _ = out.write_all(&bytes).and_then(|()| out.flush());
    }

    fn add(&self, line: &[u8], at_once: bool) {
        let mut gathered = lock(&self.gathered);
        let first = gathered.is_empty();
        gathered.extend_from_slice(line);
        let full = gathered.len() >= MOST;
        drop(gathered);
        if at_once || full {
            self.flush();
        } else if first {
            self.some.notify_one();
        }
    }
}

/// A line being written.
struct Line<'a, W> {
    shared: &'a Shared<W>,
    at_once: bool,
}

impl<W: Write> Write for Line<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.shared.add(bytes, self.at_once);
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl<'a, W: Write + 'a> MakeWriter<'a> for Lines<W> {
    type Writer = Line<'a, W>;

    fn make_writer(&'a self) -> Self::Writer {
        Line {
            shared: &self.0,
            at_once: true,
        }
    }

    fn make_writer_for(&'a self, of: &Metadata<'_>) -> Self::Writer {
        Line {
            shared: &self.0,
            at_once: *of.level() <= Level::WARN,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[derive(Clone, Debug, Default)]
    struct Out(Arc<Mutex<Vec<Vec<u8>>>>);

    impl Write for Out {
        fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
            lock(&self.0).push(bytes.to_vec());
            Ok(bytes.len())
        }
        fn flush(&mut self) -> io::Result<()> {
            Ok(())
        }
    }

    impl Out {
        fn text(&self) -> String {
            String::from_utf8(lock(&self.0).concat()).expect("text")
        }
    }

    #[test]
    fn lines_are_written_together_in_order_and_what_is_urgent_at_once() {
        let out = Out::default();
        let lines = Lines::gathered(out.clone()).expect("a thread");
        let add = |line: &str, at_once| lines.0.add(line.as_bytes(), at_once);
        add("a\n", false);
        add("b\n", false);
        add("urgent\n", true);
        assert_eq!(out.text(), "a\nb\nurgent\n");
        // What is not urgent comes by itself.
        add("c\n", false);
        let start = Instant::now();
        while out.text() != "a\nb\nurgent\nc\n" {
            assert!(start.elapsed() < Duration::from_secs(10), "{}", out.text());
            std::thread::sleep(Duration::from_millis(2));
        }
        // Many writers: every line is whole, and each writer's are in order.
        std::thread::scope(|scope| {
            for writer in 0..4 {
                scope.spawn(move || (0..5_000).for_each(|n| add(&format!("{writer} {n}\n"), n % 1_000 == 0)));
            }
        });
        lines.flush();
        let text = out.text();
        for writer in 0..4 {
            let head = format!("{writer} ");
            let its: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix(&head)).collect();
            assert!(its.iter().enumerate().all(|(n, line)| *line == n.to_string()) && its.len() == 5_000);
        }
        assert!(lock(&out.0).len() < 10_000, "written one by one");
    }
}
