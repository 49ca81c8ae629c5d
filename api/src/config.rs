//! Settings: defaults, file, environment, command line, in rising order. `klio.toml` beside this crate is the list of keys
//! and the source of the defaults; here is what each may be.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use klio_entities::store::StoreConfig;
use klio_schema::limits::Limits;
use klio_subscriptions::bus::place::Place;

mod reader;

pub use reader::duration;
use reader::{Given, Reader};

/// The commented file with every key and its default.
pub const DEFAULTS: &str = include_str!("../klio.toml");

/// Environment variables that begin like settings and are none.
const NOT_SETTINGS: [&str; 3] = ["KLIO_CONFIG", "KLIO_URL", "KLIO_TOKEN"];

/// All settings, checked.
#[derive(Clone, Debug)]
pub struct Config {
    /// `[database]`
    pub database: Database,
    /// `[http]`
    pub http: Http,
    /// `[limits]`
    pub limits: Limits,
    /// `[websocket]`
    pub websocket: WebSocket,
    /// `[streams]`
    pub streams: Streams,
    /// `[redis]`
    pub redis: Redis,
    /// `[auth]`
    pub auth: Auth,
    /// `[log]`
    pub log: Log,
}

/// Where everything is kept. Meanings and units: `klio.toml`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is a key of klio.toml, described there")]
pub struct Database {
    pub url: String,
    pub max_connections: u32,
    pub readers: u32,
    pub statement_timeout: Duration,
    pub klass_grace: Duration,
    pub migrate: bool,
}

/// The door. Meanings and units: `klio.toml`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is a key of klio.toml, described there")]
pub struct Http {
    pub listen: SocketAddr,
    pub body_limit: usize,
    pub read_timeout: Duration,
    pub compress_above: usize,
    pub cors_origins: Vec<String>,
    pub drain_timeout: Duration,
    pub explorer: bool,
    pub metrics: bool,
}

/// Sockets. Meanings and units: `klio.toml`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is a key of klio.toml, described there")]
pub struct WebSocket {
    pub origins: Vec<String>,
    pub init_timeout: Duration,
    pub ping_interval: Duration,
    pub message_limit: usize,
    pub operations_limit: usize,
    pub subscribe_rate: u32,
    pub connections_limit: usize,
    pub connections_per_actor: usize,
    pub write_timeout: Duration,
}

/// Streams in responses, and polls. Meanings and units: `klio.toml`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is a key of klio.toml, described there")]
pub struct Streams {
    pub heartbeat: Duration,
    pub poll_wait: Duration,
}

/// News between nodes. Meanings: `klio.toml`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is a key of klio.toml, described there")]
pub struct Redis {
    pub url: Option<Place>,
    pub prefix: String,
}

/// Who may come in. Meanings and units: `klio.toml`.
#[derive(Clone)]
#[allow(missing_docs, reason = "each is a key of klio.toml, described there")]
pub struct Auth {
    pub cache: Duration,
    pub recheck: Duration,
    pub jwt_secret: Option<String>,
    pub jwt_public_key: Option<PathBuf>,
    pub jwt_jwks: Option<PathBuf>,
    pub jwt_issuer: Option<String>,
    pub jwt_audience: Option<String>,
    pub jwt_leeway: Duration,
}

impl std::fmt::Debug for Auth {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Auth")
            .field("jwt_secret", &self.jwt_secret.as_ref().map(|_| "…"))
            .finish_non_exhaustive()
    }
}

/// What is told. Meanings: `klio.toml`.
#[derive(Clone, Debug)]
#[allow(missing_docs, reason = "each is a key of klio.toml, described there")]
pub struct Log {
    pub format: LogFormat,
    pub level: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogFormat {
    /// For people.
    Human,
    /// One JSON object a line.
    Json,
}

/// Everything that is wrong with the settings, a line each.
#[derive(Debug, thiserror::Error, PartialEq, Eq)]
#[error("{}", .0.join("\n"))]
pub struct ConfigError(pub Vec<String>);

impl Config {
    /// The defaults alone.
    pub fn defaults() -> Self {
        // The file is part of the program; a test reads it.
        Self::from_parts(None, Vec::new(), &[]).unwrap_or_else(|error| unreachable!("klio.toml: {error}"))
    }

    /// Reads the file (or `./klio.toml` when none is named and it is there), then the environment, then `sets` (`key=value`).
    ///
    /// # Errors
    /// Everything that is wrong, with the names of keys and what is allowed.
    pub fn load(file: Option<&Path>, sets: &[String]) -> Result<Self, ConfigError> {
        let path = match file {
            Some(path) => Some(path.to_owned()),
            None => Some(PathBuf::from("klio.toml")).filter(|path| path.exists()),
        };
        let text = match &path {
            None => None,
            Some(path) => Some((
                path.display().to_string(),
                std::fs::read_to_string(path).map_err(|e| ConfigError(vec![format!("{}: {e}", path.display())]))?,
            )),
        };
        let environment = std::env::vars().filter(|(name, _)| name.starts_with("KLIO_")).collect();
        Self::from_parts(text, environment, sets)
    }

    /// The same, from what was read already: (name of the file, its text), environment, `key=value`.
    ///
    /// # Errors
    /// As [`Config::load`].
    pub fn from_parts(file: Option<(String, String)>, environment: Vec<(String, String)>, sets: &[String]) -> Result<Self, ConfigError> {
        let mut reader = Reader::default();
        reader.add_toml("klio.toml (defaults)", DEFAULTS);
        reader.known = reader.values.keys().cloned().collect();
        if let Some((name, text)) = file {
            reader.add_toml(&name, &text);
        }
        for (name, value) in environment {
            if !NOT_SETTINGS.contains(&name.as_str()) && !name.starts_with("KLIO_TEST_") {
                reader.add_environment(&name, value);
            }
        }
        for set in sets {
            match set.split_once('=') {
                Some((key, value)) => reader.add(key.trim(), "--set", Given::Text(value.trim().to_owned())),
                None => reader.faults.push(format!(
                    "--set {set}: say it as key=value, for example --set http.listen=127.0.0.1:4000"
                )),
            }
        }
        reader.config()
    }

    /// What the store needs of it.
    pub fn store(&self) -> StoreConfig {
        StoreConfig {
            url: self.database.url.clone(),
            max_connections: self.database.max_connections,
            readers: self.database.readers,
            statement_timeout: self.database.statement_timeout,
            klass_grace: self.database.klass_grace,
        }
    }

    /// The database's URL without its password, for people to see.
    pub fn shown_database(&self) -> String {
        without_password(&self.database.url)
    }
}

/// A URL with its password taken out.
fn without_password(url: &str) -> String {
    let Some((scheme, rest)) = url.split_once("://") else {
        return url.to_owned();
    };
    let end = rest.find('/').unwrap_or(rest.len());
    let authority = rest.get(..end).unwrap_or(rest);
    // The password may hold an @ of its own: the last one ends it.
    let Some((user, host)) = authority.rsplit_once('@') else {
        return url.to_owned();
    };
    let user = user.split_once(':').map_or(user, |(name, _)| name);
    // Settings behind ? may hold one too (`?password=`).
    let path = rest.get(end..).unwrap_or_default();
    let path = path.split_once('?').map_or(path, |(path, _)| path);
    format!("{scheme}://{user}@{host}{path}")
}

#[cfg(test)]
mod tests {
    use super::reader::size;
    use super::*;

    fn faults(file: &str, environment: &[(&str, &str)], sets: &[&str]) -> Vec<String> {
        let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
        let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
        match Config::from_parts(Some(("my.toml".into(), file.into())), environment, &sets) {
            Ok(_) => Vec::new(),
            Err(error) => error.0,
        }
    }

    #[test]
    fn the_default_file_is_whole_and_every_key_has_a_comment() {
        let config = Config::defaults();
        assert_eq!(config.http.listen.port(), 4000);
        assert_eq!(config.websocket.init_timeout, Duration::from_secs(3));
        let lines: Vec<&str> = DEFAULTS.lines().collect();
        for (i, line) in lines.iter().enumerate() {
            if line.contains(" = ") && !line.starts_with('#') {
                assert!(lines[i - 1].starts_with('#'), "no comment above: {line}");
            }
        }
    }

    #[test]
    fn command_line_over_environment_over_file() {
        let of = |environment: &[(&str, &str)], sets: &[&str]| {
            let environment = environment.iter().map(|(k, v)| ((*k).to_owned(), (*v).to_owned())).collect();
            let sets: Vec<String> = sets.iter().map(|s| (*s).to_owned()).collect();
            let file = (
                "my.toml".to_owned(),
                "[http]\nlisten = \"127.0.0.1:1\"\ncors_origins = [\"https://a.example\"]".to_owned(),
            );
            Config::from_parts(Some(file), environment, &sets).expect("right settings")
        };
        assert_eq!(of(&[], &[]).http.listen.port(), 1);
        assert_eq!(of(&[("KLIO_HTTP_LISTEN", "0.0.0.0:2")], &[]).http.listen.port(), 2);
        assert_eq!(
            of(&[("KLIO_HTTP_LISTEN", "0.0.0.0:2")], &["http.listen=0.0.0.0:3"])
                .http
                .listen
                .port(),
            3
        );
        assert_eq!(of(&[], &[]).http.cors_origins, ["https://a.example"]);
        assert_eq!(
            of(&[("KLIO_HTTP_CORS_ORIGINS", "*, https://b.example")], &[]).http.cors_origins,
            ["*", "https://b.example"]
        );
    }

    #[test]
    fn all_faults_are_told_at_once_with_name_and_what_is_allowed() {
        let told = faults(
            "[http]\nlistn = \"x\"\nbody_limit = 5\n[wat]\nx = 1\n[auth]\njwt_secret = \"short\"",
            &[
                ("KLIO_LOG_FORMAT", "xml"),
                ("KLIO_HTPP_LISTEN", "x"),
                ("KLIO_TEST_POSTGRES_URL", "left alone"),
            ],
            &["websocket.ping_interval=0s", "nonsense"],
        );
        let all = told.join("\n");
        for part in [
            "my.toml: http.listn: no such setting; did you mean http.listen?",
            "my.toml: http.body_limit: 5 is not a size such as 512B, 64KiB or 1MiB",
            "my.toml: wat.x: no such setting; there are ",
            "my.toml: auth.jwt_secret: its value is not a secret of at least 32 bytes",
            "KLIO_LOG_FORMAT: log.format: \"xml\" is not human or json",
            "KLIO_HTPP_LISTEN: no such setting; did you mean KLIO_HTTP_LISTEN?",
            "--set: websocket.ping_interval: \"0s\" is not a duration above zero such as 500ms, 3s, 5m, 12h or 30d",
            "--set nonsense: say it as key=value",
        ] {
            assert!(all.contains(part), "not told: {part}\n{all}");
        }
        assert_eq!(told.len(), 8, "{all}");
        assert!(!all.contains("short"), "a secret was shown: {all}");
    }

    #[test]
    fn passwords_are_not_shown() {
        for (url, shown) in [
            ("postgres://u:p@h:5432/d", "postgres://u@h:5432/d"),
            ("postgres://u:p@ss@h/d?sslmode=require&password=x", "postgres://u@h/d"),
            ("postgres://h/d", "postgres://h/d"),
            ("sqlite:klio.db", "sqlite:klio.db"),
        ] {
            assert_eq!(without_password(url), shown);
        }
    }

    #[test]
    fn durations_and_sizes() {
        assert_eq!(duration("30d"), Some(Duration::from_secs(2_592_000)));
        assert_eq!(duration("500ms"), Some(Duration::from_millis(500)));
        for wrong in ["", "5", "s", "-1s", "1.5s", "99999999999999999999d", "9999999999999999d", "3 weeks"] {
            assert_eq!(duration(wrong), None, "{wrong}");
        }
        assert_eq!(size("64KiB"), Some(65_536));
        for wrong in ["", "5", "KiB", "1kb", "99999999999999999999GiB"] {
            assert_eq!(size(wrong), None, "{wrong}");
        }
    }
}
