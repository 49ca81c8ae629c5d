//! Where Redis is, as a URL says it.

use redis::IntoConnectionInfo;

/// One of the ways to have a Redis. The first letter of each URL's scheme may be `rediss` for TLS.
#[derive(Clone, PartialEq, Eq)]
pub enum Place {
    /// A single server: `redis://[user:password@]host:port/`.
    Single(String),
    /// A master watched by sentinels: `redis+sentinel://[user:password@]host:port,host:port/master`.
    Sentinel {
        /// The sentinels' URLs.
        sentinels: Vec<String>,
        /// The master's name.
        master: String,
        /// Who one is to the master: user (may be empty) and password.
        login: Option<(String, String)>,
    },
    /// A Cluster, by some of its nodes: `redis+cluster://[user:password@]host:port,host:port`.
    Cluster(Vec<String>),
}

impl std::fmt::Debug for Place {
    /// Without passwords.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(&self.shown())
    }
}

const FORMS: &str =
    "it is redis://host:port, rediss://host:port, redis+sentinel://host:port,host:port/master or redis+cluster://host:port,host:port";

impl Place {
    /// Reads a URL.
    ///
    /// # Errors
    /// What is wrong with it; the URL, which may hold a password, is not in it.
    pub fn parse(url: &str) -> Result<Self, String> {
        let (scheme, rest) = url.split_once("://").ok_or(FORMS)?;
        let (tls, kind) = scheme.split_once('+').unwrap_or((scheme, ""));
        if !matches!(tls, "redis" | "rediss") {
            return Err(FORMS.into());
        }
        let (authority, path) = rest.split_once('/').unwrap_or((rest, ""));
        let (login, hosts) = match authority.rsplit_once('@') {
            Some((login, hosts)) => (Some(login), hosts),
            None => (None, authority),
        };
        let hosts: Vec<&str> = hosts.split(',').map(str::trim).filter(|host| !host.is_empty()).collect();
        if hosts.is_empty() {
            return Err(FORMS.into());
        }
        let urls = |login: Option<&str>| -> Result<Vec<String>, String> {
            let login = login.map_or_else(String::new, |login| format!("{login}@"));
            let url = |host: &&str| readable(format!("{tls}://{login}{host}/"));
            hosts.iter().map(url).collect()
        };
        match kind {
            "" => Ok(Place::Single(readable(url.to_owned())?)),
            "cluster" => Ok(Place::Cluster(urls(login)?)),
            "sentinel" if path.is_empty() => Err("the master's name is missing: redis+sentinel://host:port,host:port/master".into()),
            "sentinel" => Ok(Place::Sentinel {
                sentinels: urls(None)?,
                master: path.to_owned(),
                login: login.map(|login| {
                    let (user, password) = login.split_once(':').unwrap_or(("", login));
                    (user.to_owned(), password.to_owned())
                }),
            }),
            _ => Err(FORMS.into()),
        }
    }

    /// For people to see: without who one is.
    pub fn shown(&self) -> String {
        let bare = |url: &String| {
            let host = url.split_once("://").map_or(url.as_str(), |(_, rest)| rest);
            let host = host.split(['/', '?']).next().unwrap_or_default();
            host.rsplit_once('@').map_or(host, |(_, host)| host).to_owned()
        };
        let list = |urls: &[String]| urls.iter().map(bare).collect::<Vec<_>>().join(", ");
        match self {
            Place::Single(url) => format!("Redis at {}", bare(url)),
            Place::Sentinel { sentinels, master, .. } => format!("Redis {master} by sentinels {}", list(sentinels)),
            Place::Cluster(nodes) => format!("Redis Cluster at {}", list(nodes)),
        }
    }
}

fn readable(url: String) -> Result<String, String> {
    match url.as_str().into_connection_info() {
        Ok(_) => Ok(url),
        Err(error) => Err(format!("it cannot be read: {error}")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls() {
        assert_eq!(
            Place::parse("redis://127.0.0.1:6379/"),
            Ok(Place::Single("redis://127.0.0.1:6379/".into()))
        );
        assert_eq!(
            Place::parse("redis+cluster://u:p@a:1,b:2"),
            Ok(Place::Cluster(vec!["redis://u:p@a:1/".into(), "redis://u:p@b:2/".into()]))
        );
        let sentinel = Place::parse("redis+sentinel://:secret@a:1,b:2/main").expect("right");
        assert_eq!(
            sentinel,
            Place::Sentinel {
                sentinels: vec!["redis://a:1/".into(), "redis://b:2/".into()],
                master: "main".into(),
                login: Some((String::new(), "secret".into())),
            }
        );
        assert_eq!(format!("{sentinel:?}"), "Redis main by sentinels a:1, b:2");
        assert_eq!(Place::parse("redis://u:secret@h:1").map(|it| it.shown()), Ok("Redis at h:1".into()));
        for wrong in [
            "",
            "h:1",
            "http://h",
            "redis+sentinel://a:1",
            "redis+cluster://",
            "redis://h:port",
            "redis+x://h:1",
        ] {
            assert!(Place::parse(wrong).is_err(), "{wrong}");
        }
    }
}
