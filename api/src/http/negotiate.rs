//! What a client accepts and sends, read from its headers. Pure.

/// The media types of a GraphQL response.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Media {
    /// `application/graphql-response+json`: the status tells the truth.
    GraphqlResponse,
    /// `application/json`: what clients of before understand; once a document was read, the status is 200.
    Json,
}

impl Media {
    /// As a `Content-Type`.
    pub fn content_type(self) -> &'static str {
        match self {
            Media::GraphqlResponse => "application/graphql-response+json; charset=utf-8",
            Media::Json => "application/json; charset=utf-8",
        }
    }
}

/// The streams in which a subscription is told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Streamed {
    /// `text/event-stream`.
    Events,
    /// `multipart/mixed` with `subscriptionSpec=1.0`.
    Multipart,
}

/// Which stream a client likes best, if it takes one. It must name it: nobody means a stream by `*/*`.
pub fn streamed(header: Option<&str>) -> Option<Streamed> {
    let mut best: Option<(u16, Streamed)> = None;
    for range in header?.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default();
        let (mut quality, mut subscriptions) = (1_000, false);
        for parameter in parts {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "q" => quality = thousandths(value),
                "subscriptionspec" => subscriptions = value == "1.0",
                _ => {}
            }
        }
        let streamed = match name.to_ascii_lowercase().as_str() {
            "text/event-stream" => Streamed::Events,
            // Without the word it is a form for incremental delivery, which is something else.
            "multipart/mixed" if subscriptions => Streamed::Multipart,
            _ => continue,
        };
        if quality > 0 && best.is_none_or(|(before, _)| quality > before) {
            best = Some((quality, streamed));
        }
    }
    best.map(|(_, streamed)| streamed)
}

/// Which of the two a client likes best; `None` when it takes neither. No header, and `*/*`, mean JSON.
pub fn accept(header: Option<&str>) -> Option<Media> {
    let Some(header) = header.filter(|h| !h.trim().is_empty()) else {
        return Some(Media::Json);
    };
    // (quality, named outright, media): the best of them, the first among equals.
    let mut best: Option<(u16, bool, Media)> = None;
    for range in header.split(',') {
        let mut parts = range.split(';').map(str::trim);
        let name = parts.next().unwrap_or_default().to_ascii_lowercase();
        let mut quality = 1_000;
        let mut utf8 = true;
        for parameter in parts {
            let (key, value) = parameter.split_once('=').unwrap_or((parameter, ""));
            let value = value.trim().trim_matches('"');
            match key.trim().to_ascii_lowercase().as_str() {
                "q" => quality = thousandths(value),
                "charset" => utf8 = value.eq_ignore_ascii_case("utf-8") || value.eq_ignore_ascii_case("utf8"),
                _ => {}
            }
        }
        let (named, media) = match name.as_str() {
            "application/graphql-response+json" => (true, Media::GraphqlResponse),
            "application/json" => (true, Media::Json),
            "application/*" | "*/*" => (false, Media::Json),
            _ => continue,
        };
        if quality == 0 || !utf8 {
            continue;
        }
        if best.is_none_or(|(q, n, _)| (quality, named) > (q, n)) {
            best = Some((quality, named, media));
        }
    }
    best.map(|(_, _, media)| media)
}

/// `0.75` as 750; what is not a quality counts as 1.
fn thousandths(text: &str) -> u16 {
    match text.parse::<f32>() {
        // The cast cannot leave 0..=1000.
        #[allow(clippy::cast_possible_truncation, clippy::cast_sign_loss)]
        Ok(q) if (0.0..=1.0).contains(&q) => (q * 1_000.0).round() as u16,
        _ => 1_000,
    }
}

/// A browser's page load rather than a client's request: it likes HTML best.
pub fn prefers_html(accept: Option<&str>) -> bool {
    accept.is_some_and(|header| header.split(',').next().is_some_and(|first| first.trim().starts_with("text/html")))
}

/// What a request's body is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Body {
    /// JSON in UTF-8.
    Json,
    /// JSON in another character set.
    OtherCharset,
    /// Something else, or it is not said. Forms and plain text come across origins without the browser asking first, so nothing
    /// but JSON is ever taken.
    Other,
}

/// Reads a `Content-Type`.
pub fn body(content_type: Option<&str>) -> Body {
    let Some(content_type) = content_type else { return Body::Other };
    let mut parts = content_type.split(';').map(str::trim);
    let name = parts.next().unwrap_or_default();
    if !name.eq_ignore_ascii_case("application/json") && !name.eq_ignore_ascii_case("application/graphql+json") {
        return Body::Other;
    }
    for parameter in parts {
        if let Some((key, value)) = parameter.split_once('=')
            && key.trim().eq_ignore_ascii_case("charset")
            && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf-8")
            && !value.trim().trim_matches('"').eq_ignore_ascii_case("utf8")
        {
            return Body::OtherCharset;
        }
    }
    Body::Json
}

/// A request id that a client gave, if it is fit to be written to a log: 1 to 128 letters, digits and `-_.:/+=`.
pub fn request_id(header: Option<&str>) -> Option<&str> {
    header.filter(|id| !id.is_empty() && id.len() <= 128 && id.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.:/+=".contains(&b)))
}

/// Whether a web page of this origin may come in: `host` is the gateway's own.
pub fn origin_allowed(origin: Option<&str>, host: Option<&str>, allowed: &[String]) -> bool {
    let Some(origin) = origin else { return true };
    if allowed.iter().any(|a| a == "*" || a.eq_ignore_ascii_case(origin)) {
        return true;
    }
    origin
        .split_once("://")
        .is_some_and(|(_, of)| host.is_some_and(|host| of.eq_ignore_ascii_case(host)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_accepted() {
        use Media::{GraphqlResponse, Json};
        for (header, media) in [
            (None, Some(Json)),
            (Some(""), Some(Json)),
            (Some("*/*"), Some(Json)),
            (Some("application/*"), Some(Json)),
            (Some("application/json"), Some(Json)),
            (Some("application/graphql-response+json"), Some(GraphqlResponse)),
            (Some("Application/GraphQL-Response+JSON; charset=UTF-8"), Some(GraphqlResponse)),
            (Some("application/graphql-response+json, application/json"), Some(GraphqlResponse)),
            (Some("application/json, application/graphql-response+json"), Some(Json)),
            (
                Some("application/json;q=0.9, application/graphql-response+json"),
                Some(GraphqlResponse),
            ),
            (Some("*/*, application/graphql-response+json"), Some(GraphqlResponse)),
            (Some("application/graphql-response+json;q=0.1, */*"), Some(Json)),
            (Some("application/graphql-response+json;q=0"), None),
            (Some("application/json; charset=latin1"), None),
            (Some("text/html"), None),
            (Some("text/event-stream"), None),
            (Some("text/html,application/xhtml+xml,*/*;q=0.8"), Some(Json)),
        ] {
            assert_eq!(accept(header), media, "{header:?}");
        }
    }

    #[test]
    fn what_streams_are_accepted() {
        use Streamed::{Events, Multipart};
        let apollo =
            "multipart/mixed;boundary=\"graphql\";subscriptionSpec=\"1.0\",application/graphql-response+json,application/json;q=0.9";
        let urql = "application/graphql-response+json, application/json, text/event-stream, multipart/mixed";
        for (header, streamed_as) in [
            (None, None),
            (Some("*/*"), None),
            (Some("application/json"), None),
            (Some("text/event-stream"), Some(Events)),
            (Some("text/event-stream;q=0"), None),
            (Some("Text/Event-Stream, application/json"), Some(Events)),
            (Some("multipart/mixed"), None),
            (Some("multipart/mixed;subscriptionSpec=1.0, application/json"), Some(Multipart)),
            (
                Some("text/event-stream;q=0.5, multipart/mixed;subscriptionSpec=1.0"),
                Some(Multipart),
            ),
            (Some(apollo), Some(Multipart)),
            (Some(urql), Some(Events)),
        ] {
            assert_eq!(streamed(header), streamed_as, "{header:?}");
        }
    }

    #[test]
    fn what_a_body_is() {
        for (header, is) in [
            (Some("application/json"), Body::Json),
            (Some("application/json; charset=utf-8"), Body::Json),
            (Some("application/JSON;Charset=\"UTF-8\""), Body::Json),
            (Some("application/json; charset=utf-16"), Body::OtherCharset),
            (Some("text/plain"), Body::Other),
            (Some("text/plain; application/json"), Body::Other),
            (Some("application/x-www-form-urlencoded"), Body::Other),
            (Some("multipart/form-data; boundary=x"), Body::Other),
            (None, Body::Other),
        ] {
            assert_eq!(body(header), is, "{header:?}");
        }
    }

    #[test]
    fn request_ids() {
        assert_eq!(request_id(Some("01j-abc_1.2")), Some("01j-abc_1.2"));
        for wrong in [None, Some(""), Some("a b"), Some("a\nb"), Some("é"), Some("\u{1b}[31m")] {
            assert_eq!(request_id(wrong), None, "{wrong:?}");
        }
        assert_eq!(request_id(Some(&"x".repeat(129))), None);
    }

    #[test]
    fn origins() {
        let list = ["https://app.example.com".to_owned()];
        for (origin, host, list, is) in [
            (None, Some("api.example.com"), &list[..], true),
            (Some("https://app.example.com"), Some("api.example.com"), &list[..], true),
            (
                Some("https://app.example.com.evil.example"),
                Some("api.example.com"),
                &list[..],
                false,
            ),
            (Some("https://evil.example"), Some("api.example.com"), &list[..], false),
            (Some("null"), Some("api.example.com"), &list[..], false),
            (Some("http://localhost:4000"), Some("localhost:4000"), &[][..], true),
            (Some("http://localhost:4001"), Some("localhost:4000"), &[][..], false),
            (Some("http://localhost:4000"), None, &[][..], false),
            (Some("https://evil.example"), None, &["*".to_owned()][..], true),
        ] {
            assert_eq!(origin_allowed(origin, host, list), is, "{origin:?} at {host:?}");
        }
    }
}
