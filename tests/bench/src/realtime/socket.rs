//! A bare client of graphql-transport-ws (<https://github.com/enisdenjo/graphql-ws/blob/master/PROTOCOL.md>) over WebSocket (RFC 6455):
//! as little work of its own as can be, since ten thousand of them share the machine with what they measure.

use std::net::SocketAddr;

use anyhow::{Context, bail, ensure};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const TEXT: u8 = 1;
const CLOSE: u8 = 8;
const PING: u8 = 9;
const PONG: u8 = 10;

/// A socket with a subscription.
pub struct Socket {
    stream: TcpStream,
    buffer: Vec<u8>,
    /// Up to where the buffer was given out.
    taken: usize,
}

impl Socket {
    /// Connects, up to `connection_ack`.
    pub async fn open(address: SocketAddr, token: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(address).await?;
        stream.set_nodelay(true)?;
        let mut socket = Self {
            stream,
            buffer: Vec::with_capacity(1024),
            taken: 0,
        };
        // RFC 6455, 4.1. The key is not checked here: it is known who answers.
        let request = "GET /graphql HTTP/1.1\r\nhost: bench\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-version: 13\r\n\
                       sec-websocket-key: dGhlIHNhbXBsZSBub25jZQ==\r\nsec-websocket-protocol: graphql-transport-ws\r\n\r\n";
        socket.stream.write_all(request.as_bytes()).await?;
        loop {
            socket.more().await?;
            if let Some(end) = socket.buffer.windows(4).position(|window| window == b"\r\n\r\n") {
                ensure!(
                    socket.buffer.starts_with(b"HTTP/1.1 101"),
                    "{}",
                    String::from_utf8_lossy(&socket.buffer)
                );
                socket.taken = end + 4;
                break;
            }
        }
        let init = format!(r#"{{"type":"connection_init","payload":{{"authorization":"Bearer {token}"}}}}"#);
        socket.send(TEXT, init.as_bytes()).await?;
        let answer = socket.next().await?;
        ensure!(contains(answer, b"connection_ack"), "{}", String::from_utf8_lossy(answer));
        Ok(socket)
    }

    /// Starts its subscription.
    pub async fn subscribe(&mut self, query: &str, variables: &serde_json::Value) -> anyhow::Result<()> {
        let payload = serde_json::json!({"id": "1", "type": "subscribe", "payload": {"query": query, "variables": variables}});
        self.send(TEXT, payload.to_string().as_bytes()).await
    }

    /// The next text message.
    pub async fn next(&mut self) -> anyhow::Result<&[u8]> {
        loop {
            match frame(&self.buffer[self.taken..]) {
                Some((TEXT, from, to)) => {
                    let (from, to) = (self.taken + from, self.taken + to);
                    self.taken = to;
                    return Ok(&self.buffer[from..to]);
                }
                Some((kind, from, to)) => {
                    let payload = self.buffer[self.taken + from..self.taken + to].to_vec();
                    self.taken += to;
                    match kind {
                        PING => self.send(PONG, &payload).await?,
                        CLOSE => bail!("closed: {}", String::from_utf8_lossy(payload.get(2..).unwrap_or_default())),
                        _ => {}
                    }
                }
                None => self.more().await?,
            }
        }
    }

    async fn more(&mut self) -> anyhow::Result<()> {
        self.buffer.drain(..self.taken);
        self.taken = 0;
        let read = self.stream.read_buf(&mut self.buffer).await?;
        ensure!(read > 0, "the server closed the connection");
        Ok(())
    }

    /// A frame, masked as a client's must be (with zeros: the mask guards proxies, and there is none).
    async fn send(&mut self, kind: u8, payload: &[u8]) -> anyhow::Result<()> {
        let mut frame = vec![0x80 | kind];
        match payload.len() {
            length @ 0..=125 => frame.push(0x80 | length as u8),
            length => {
                frame.push(0x80 | 126);
                frame.extend(u16::try_from(length).context("a message that is too long")?.to_be_bytes());
            }
        }
        frame.extend([0; 4]);
        frame.extend(payload);
        Ok(self.stream.write_all(&frame).await?)
    }
}

/// The first whole frame: its kind, and where its payload begins and ends. (Servers do not mask, and these do not fragment.)
fn frame(bytes: &[u8]) -> Option<(u8, usize, usize)> {
    let kind = bytes.first()? & 0x0f;
    let (from, length) = match *bytes.get(1)? {
        126 => (4, u64::from(u16::from_be_bytes(bytes.get(2..4)?.try_into().ok()?))),
        127 => (10, u64::from_be_bytes(bytes.get(2..10)?.try_into().ok()?)),
        length => (2, u64::from(length)),
    };
    let to = from + usize::try_from(length).ok()?;
    (bytes.len() >= to).then_some((kind, from, to))
}

/// Whether a message holds these bytes.
pub fn contains(hay: &[u8], needle: &[u8]) -> bool {
    hay.windows(needle.len()).any(|window| window == needle)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_taken_when_they_are_whole() {
        assert_eq!(frame(b""), None);
        assert_eq!(frame(b"\x81"), None);
        assert_eq!(frame(b"\x81\x02a"), None);
        assert_eq!(frame(b"\x81\x02abc"), Some((TEXT, 2, 4)));
        assert_eq!(frame(b"\x89\x00"), Some((PING, 2, 2)));
        let mut long = vec![0x81, 126, 1, 0];
        assert_eq!(frame(&long), None);
        long.extend([b'x'; 256]);
        assert_eq!(frame(&long), Some((TEXT, 4, 260)));
    }
}
