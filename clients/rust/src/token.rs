//! Tokens: one that is given, or a source of them.

use std::pin::Pin;
use std::sync::Arc;

use tokio::sync::Mutex;

use super::Error;

type Answer = Pin<Box<dyn Future<Output = Result<String, String>> + Send>>;

/// Where tokens come from. Clones share the latest.
#[derive(Clone)]
pub(crate) struct Tokens {
    latest: Arc<Mutex<Option<String>>>,
    source: Option<Arc<dyn Fn() -> Answer + Send + Sync>>,
}

impl std::fmt::Debug for Tokens {
    /// Never the token.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Tokens")
    }
}

impl Tokens {
    pub fn fixed(token: String) -> Self {
        Self {
            latest: Arc::new(Mutex::new(Some(token))),
            source: None,
        }
    }

    pub fn from_source<F>(source: impl Fn() -> F + Send + Sync + 'static) -> Self
    where
        F: Future<Output = Result<String, String>> + Send + 'static,
    {
        Self {
            latest: Arc::default(),
            source: Some(Arc::new(move || Box::pin(source()))),
        }
    }

    /// The latest token.
    pub async fn now(&self) -> Result<String, Error> {
        let mut latest = self.latest.lock().await;
        match (&*latest, &self.source) {
            (Some(token), _) => Ok(token.clone()),
            (None, Some(source)) => {
                let token = source().await.map_err(Error::Token)?;
                *latest = Some(token.clone());
                Ok(token)
            }
            (None, None) => Err(Error::Token("none was given".into())),
        }
    }

    /// Another one than this, which is no longer good; `None` when there is no other. Many who ask at once get the same.
    pub async fn instead_of(&self, old: &str) -> Result<Option<String>, Error> {
        let Some(source) = &self.source else { return Ok(None) };
        let mut latest = self.latest.lock().await;
        if let Some(token) = latest.as_ref().filter(|token| *token != old) {
            return Ok(Some(token.clone()));
        }
        let token = source().await.map_err(Error::Token)?;
        *latest = Some(token.clone());
        Ok((token != old).then_some(token))
    }
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::{AtomicUsize, Ordering};

    use super::*;

    #[tokio::test]
    async fn a_source_is_asked_only_when_a_token_is_no_longer_good() {
        let asked = Arc::new(AtomicUsize::new(0));
        let tokens = Tokens::from_source({
            let asked = asked.clone();
            move || {
                let n = asked.fetch_add(1, Ordering::SeqCst);
                // The third is the last.
                async move { if n < 3 { Ok(format!("token {n}")) } else { Ok("token 2".into()) } }
            }
        });
        assert_eq!(tokens.now().await.expect("a token"), "token 0");
        assert_eq!(tokens.now().await.expect("a token"), "token 0");
        assert_eq!(tokens.instead_of("token 0").await.expect("a token").as_deref(), Some("token 1"));
        // Somebody else had the old one still.
        assert_eq!(tokens.instead_of("token 0").await.expect("a token").as_deref(), Some("token 1"));
        assert_eq!(asked.load(Ordering::SeqCst), 2);
        assert_eq!(tokens.instead_of("token 1").await.expect("a token").as_deref(), Some("token 2"));
        assert_eq!(
            tokens.instead_of("token 2").await.expect("an answer"),
            None,
            "the source has no other"
        );
        assert_eq!(Tokens::fixed("x".into()).instead_of("x").await.expect("an answer"), None);
    }
}
