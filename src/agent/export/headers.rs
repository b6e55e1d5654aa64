//! The headers of each request, whose values may be secrets.

use anyhow::{Context, anyhow};
use http::{HeaderMap, HeaderName, HeaderValue};
use tonic::metadata::MetadataMap;
use tonic::service::Interceptor;
use tonic::service::interceptor::InterceptedService;
use tonic::transport::Channel;
use tonic::{Request, Status};

/// An interceptor that adds headers to each request.
#[derive(Clone)]
pub(super) struct Headers(HeaderMap);

/// A channel whose requests have the headers of the connection.
pub(super) type HeaderChannel = InterceptedService<Channel, Headers>;

impl Headers {
    pub(super) fn new(headers: HeaderMap) -> Self {
        Self(headers)
    }
}

impl Interceptor for Headers {
    fn call(&mut self, mut request: Request<()>) -> Result<Request<()>, Status> {
        let mut headers = std::mem::take(request.metadata_mut()).into_headers();
        headers.extend(self.0.clone());
        *request.metadata_mut() = MetadataMap::from_headers(headers);
        Ok(request)
    }
}

/// Parses `key=value,key=value` with percent-encoded values, the format of `OTEL_EXPORTER_OTLP_HEADERS`.
///
/// Source: "OpenTelemetry Protocol Exporter" of the OpenTelemetry specification.
pub fn parse_headers(text: &str) -> anyhow::Result<HeaderMap> {
    let mut headers = HeaderMap::new();
    let pairs = text.split(',').map(str::trim).filter(|pair| !pair.is_empty());
    for (pair, number) in pairs.zip(1..) {
        // The parts are not repeated: a secret may be in the wrong one.
        let (key, value) =
            pair.split_once('=').with_context(|| format!("header {number} has no value: expected key=value"))?;
        let name = key.trim().parse::<HeaderName>().map_err(|_| anyhow!("header {number} has no valid name"))?;
        let value = percent_encoding::percent_decode_str(value.trim()).collect::<Vec<u8>>();
        let mut value = HeaderValue::from_bytes(&value)
            .map_err(|_| anyhow!("the value of header {number} has characters that no header can have"))?;
        value.set_sensitive(true);
        headers.append(name, value);
    }
    Ok(headers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_are_read_as_the_specification_writes_them() {
        let headers = parse_headers("authorization=Bearer%20abc, x-tenant=a%2Cb,").unwrap();
        assert_eq!(headers["authorization"], "Bearer abc");
        assert_eq!(headers["x-tenant"], "a,b");
        assert!(headers["authorization"].is_sensitive());
        assert!(parse_headers("novalue").is_err());
        assert!(parse_headers("a b=c").is_err());
        for bad in ["authorization=secret%0a", "authorization: secret", "authorization: secret=", "a=b,c secret=d"] {
            let error = format!("{:#}", parse_headers(bad).unwrap_err());
            assert!(error.contains("header") && !error.contains("secret"), "{error}");
        }
    }
}
