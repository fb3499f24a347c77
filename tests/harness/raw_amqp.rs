//! AMQP by hand, for properties that no client library would send.

use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;

const METHOD: u8 = 1;
const HEADER: u8 = 2;
const BODY: u8 = 3;
const END: u8 = 0xce;

/// Properties as they stand on the wire: the flags of those that are there, and their bytes.
pub struct RawProperties(u16, Vec<u8>);

impl RawProperties {
    /// A `message_id` of these bytes, whatever they are.
    pub fn message_id(bytes: &[u8]) -> Self {
        Self(1 << 7, short(bytes))
    }

    /// One header that is a table in a table in a table …
    pub fn nested_header(depth: usize) -> Self {
        let table = (0..depth).fold(Vec::new(), |inner, _| [&short(b"k")[..], b"F", &long(&inner)].concat());
        Self(1 << 13, long(&table))
    }
}

/// Publishes one confirmed message with these properties.
pub(crate) async fn publish_raw(
    address: (String, u16),
    login: (&str, &str),
    vhost: &str,
    route: (&str, &str),
    properties: &RawProperties,
) -> std::io::Result<()> {
    let mut stream = TcpStream::connect(address).await?;
    stream.write_all(b"AMQP\0\0\x09\x01").await?;
    until(&mut stream, 10, 10).await?;
    let response = format!("\0{}\0{}", login.0, login.1);
    let start = [&[0; 4][..], &short(b"PLAIN"), &long(response.as_bytes()), &short(b"en_US")].concat();
    send(&mut stream, METHOD, 0, &method(10, 11, &start)).await?;
    until(&mut stream, 10, 30).await?;
    // No channel limit, frames of 128 KiB, no heartbeat.
    send(&mut stream, METHOD, 0, &method(10, 31, &[0x07, 0xff, 0, 2, 0, 0, 0, 0])).await?;
    send(&mut stream, METHOD, 0, &method(10, 40, &[&short(vhost.as_bytes())[..], &[0, 0]].concat())).await?;
    until(&mut stream, 10, 41).await?;
    send(&mut stream, METHOD, 1, &method(20, 10, &[0])).await?;
    until(&mut stream, 20, 11).await?;
    send(&mut stream, METHOD, 1, &method(85, 10, &[0])).await?;
    until(&mut stream, 85, 11).await?;
    let publish = [&[0, 0][..], &short(route.0.as_bytes()), &short(route.1.as_bytes()), &[1]].concat();
    send(&mut stream, METHOD, 1, &method(60, 40, &publish)).await?;
    // Class 60, weight 0, two bytes of body.
    let header = [&[0, 60, 0, 0, 0, 0, 0, 0, 0, 0, 0, 2][..], &properties.0.to_be_bytes(), &properties.1].concat();
    send(&mut stream, HEADER, 1, &header).await?;
    send(&mut stream, BODY, 1, b"{}").await?;
    until(&mut stream, 60, 80).await
}

fn short(text: &[u8]) -> Vec<u8> {
    [&[u8::try_from(text.len()).expect("a short text")][..], text].concat()
}

fn long(text: &[u8]) -> Vec<u8> {
    [&u32::try_from(text.len()).expect("a text").to_be_bytes()[..], text].concat()
}

fn method(class: u16, id: u16, arguments: &[u8]) -> Vec<u8> {
    [&class.to_be_bytes()[..], &id.to_be_bytes(), arguments].concat()
}

async fn send(stream: &mut TcpStream, kind: u8, channel: u16, payload: &[u8]) -> std::io::Result<()> {
    let length = u32::try_from(payload.len()).expect("a frame").to_be_bytes();
    let frame = [&[kind][..], &channel.to_be_bytes(), &length, payload, &[END]].concat();
    stream.write_all(&frame).await
}

/// Reads frames until the broker says this method; its closing of the connection is an error.
async fn until(stream: &mut TcpStream, class: u16, id: u16) -> std::io::Result<()> {
    loop {
        let mut head = [0; 7];
        stream.read_exact(&mut head).await?;
        let length = u32::from_be_bytes([head[3], head[4], head[5], head[6]]);
        let mut payload = vec![0; length as usize + 1];
        stream.read_exact(&mut payload).await?;
        if head[0] == METHOD && payload.starts_with(&method(class, id, &[])) {
            return Ok(());
        }
    }
}
