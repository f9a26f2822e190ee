//! From the table `[client_ip]` to an extractor.

use http::HeaderName;

use crate::{
    config::{file::ClientIpTable, source_map::SourceMap},
    error::ConfigError,
    key::{self, ClientIp, ForwardedHeader, KeyExtractor},
};

/// The extractor that the table describes, checked step by step so that a mistake has its line.
pub(super) fn client_ip(table: &ClientIpTable, lines: SourceMap<'_>) -> Result<ClientIp, ConfigError> {
    let mut client_ip = key::client_ip();
    for network in &table.trust {
        client_ip = lines.locate(network, checked(client_ip.trust([network.get_ref()])))?;
    }
    if let Some(name) = &table.header {
        client_ip = client_ip.header(lines.locate(name, forwarded_header(name.get_ref()))?);
    }
    if let Some(bits) = &table.ipv6_prefix {
        client_ip = lines.locate(bits, checked(client_ip.ipv6_prefix(*bits.get_ref())))?;
    }
    Ok(client_ip)
}

fn checked(client_ip: ClientIp) -> Result<ClientIp, ConfigError> {
    client_ip.validate().map(|()| client_ip)
}

const HEADER: &str = "not the name of a header field: write one such as \"x-forwarded-for\"";

fn forwarded_header(name: &str) -> Result<ForwardedHeader, ConfigError> {
    let refuse = |_| ConfigError::new("client_ip.header", format_args!("\"{name}\""), HEADER);
    HeaderName::from_bytes(name.as_bytes()).map(ForwardedHeader::from).map_err(refuse)
}
