//! The call that the store sends, read from the server's own log of commands.

use redis::{Client, cmd};
use tokio_stream::StreamExt;

use super::subjects::Ask;

/// The arguments of the script call of a decision.
pub(crate) async fn captured(client: &Client, ask: &Ask) -> Vec<Vec<u8>> {
    // So that the server knows the script.
    ask(0).await;
    let monitor = client.get_async_monitor().await.expect("the server lets itself be watched");
    let mut lines = monitor.into_on_message::<String>();
    ask(0).await;
    loop {
        let line = lines.next().await.expect("the server goes on");
        let arguments = arguments(&line);
        if arguments.first().is_some_and(|name| name == b"EVALSHA") {
            return arguments;
        }
    }
}

/// The same call for another key.
pub(crate) fn call_for(captured: &[Vec<u8>], key: &str) -> redis::Cmd {
    let [name, hash, keys, _, arguments @ ..] = captured else { unreachable!("a call has one key") };
    let mut call = cmd(std::str::from_utf8(name).expect("a name"));
    call.arg(hash).arg(keys).arg(key);
    for argument in arguments {
        call.arg(argument);
    }
    call
}

/// What stands in quotes, with the escapes of `MONITOR`.
fn arguments(line: &str) -> Vec<Vec<u8>> {
    let (mut arguments, mut argument) = (Vec::new(), None);
    let mut bytes = line.bytes();
    while let Some(byte) = bytes.next() {
        match (byte, &mut argument) {
            (b'"', None) => argument = Some(Vec::new()),
            (b'"', Some(_)) => arguments.extend(argument.take()),
            (b'\\', Some(text)) => text.extend(unescaped(&mut bytes)),
            (byte, Some(text)) => text.push(byte),
            (_, None) => {}
        }
    }
    arguments
}

fn unescaped(bytes: &mut impl Iterator<Item = u8>) -> Option<u8> {
    Some(match bytes.next()? {
        b'n' => b'\n',
        b'r' => b'\r',
        b't' => b'\t',
        b'a' => 7,
        b'b' => 8,
        b'x' => {
            let digits = [bytes.next()?, bytes.next()?];
            u8::from_str_radix(std::str::from_utf8(&digits).ok()?, 16).ok()?
        }
        byte => byte,
    })
}
