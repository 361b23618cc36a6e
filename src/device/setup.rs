//! What a person has to enter on a phone or computer, so that it asks here under its own name.

use qrcode::QrCode;
use qrcode::render::unicode::Dense1x2;
use serde::Serialize;
use uuid::Uuid;

/// Where DNS over HTTPS takes questions; devices have a path each below it, too.
pub const PATH: &str = "/dns-query";

/// How a device reaches us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Setup {
    /// The device's name.
    pub name: String,
    /// What goes into *Private DNS*.
    pub hostname: String,
    /// The address for DNS over HTTPS, where that is listened for.
    pub https: Option<String>,
}

impl Setup {
    /// For the device with this name and label, below `hostname`. `https_port` is where DNS over HTTPS is
    /// listened for, if it is.
    pub fn new(name: &str, label: &str, hostname: &str, https_port: Option<u16>) -> Self {
        let own = format!("{label}.{hostname}");
        let https = https_port.map(|port| match port {
            443 => format!("https://{own}{PATH}"),
            port => format!("https://{own}:{port}{PATH}"),
        });
        Self {
            name: name.to_owned(),
            hostname: own,
            https,
        }
    }

    /// The host name as a square to hold a phone's camera to, in characters of a terminal.
    pub fn qr(&self) -> String {
        // A host name has at most 253 characters, and a QR code holds thousands.
        QrCode::new(&self.hostname).map_or_else(
            |_| String::new(),
            |code| {
                // Bright squares are drawn: terminals are dark, and on bright ones readers take the inverse.
                code.render::<Dense1x2>()
                    .dark_color(Dense1x2::Light)
                    .light_color(Dense1x2::Dark)
                    .build()
            },
        )
    }

    /// A configuration profile for Apple's devices (payload type `com.apple.dnsSettings.managed`): DNS over
    /// HTTPS where there is that, else DNS over TLS.
    pub fn mobileconfig(&self) -> Vec<u8> {
        let payload = Profile {
            payload_type: "Configuration",
            payload_version: 1,
            payload_identifier: format!("taciturn.{}", self.hostname),
            payload_uuid: Uuid::new_v4().to_string().to_uppercase(),
            payload_display_name: format!("taciturn: {}", self.name),
            payload_description: "Private DNS by taciturn",
            payload_content: [Payload {
                payload_type: "com.apple.dnsSettings.managed",
                payload_version: 1,
                payload_identifier: format!("taciturn.{}.dns", self.hostname),
                payload_uuid: Uuid::new_v4().to_string().to_uppercase(),
                payload_display_name: "Private DNS",
                settings: match &self.https {
                    Some(url) => DnsSettings {
                        protocol: "HTTPS",
                        server_name: None,
                        server_url: Some(url),
                    },
                    None => DnsSettings {
                        protocol: "TLS",
                        server_name: Some(&self.hostname),
                        server_url: None,
                    },
                },
            }],
        };
        let mut out = Vec::new();
        // Writing text and numbers into memory does not fail.
        let _ = plist::to_writer_xml(&mut out, &payload);
        out
    }
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Profile<'s> {
    payload_type: &'s str,
    payload_version: u8,
    payload_identifier: String,
    #[serde(rename = "PayloadUUID")]
    payload_uuid: String,
    payload_display_name: String,
    payload_description: &'s str,
    payload_content: [Payload<'s>; 1],
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Payload<'s> {
    payload_type: &'s str,
    payload_version: u8,
    payload_identifier: String,
    #[serde(rename = "PayloadUUID")]
    payload_uuid: String,
    payload_display_name: &'s str,
    #[serde(rename = "DNSSettings")]
    settings: DnsSettings<'s>,
}

#[derive(Serialize)]
struct DnsSettings<'s> {
    #[serde(rename = "DNSProtocol")]
    protocol: &'s str,
    #[serde(rename = "ServerName", skip_serializing_if = "Option::is_none")]
    server_name: Option<&'s str>,
    #[serde(rename = "ServerURL", skip_serializing_if = "Option::is_none")]
    server_url: Option<&'s str>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_profile_says_where_to_ask() {
        let setup = Setup::new("Anne's <Redmi>", "annes-x", "dns.test", None);
        let profile = plist::Value::from_reader_xml(&setup.mobileconfig()[..]).unwrap();
        let profile = profile.as_dictionary().unwrap();
        let name = profile["PayloadDisplayName"].as_string();
        assert_eq!(name, Some("taciturn: Anne's <Redmi>"));
        let payload = profile["PayloadContent"].as_array().unwrap()[0]
            .as_dictionary()
            .unwrap();
        let settings = payload["DNSSettings"].as_dictionary().unwrap();
        assert_eq!(settings["DNSProtocol"].as_string(), Some("TLS"));
        assert_eq!(settings["ServerName"].as_string(), Some("annes-x.dns.test"));
        let setup = Setup::new("pc", "pc-x", "dns.test", Some(8443));
        let url = "https://pc-x.dns.test:8443/dns-query";
        assert_eq!(setup.https.as_deref(), Some(url));
        assert!(
            String::from_utf8(setup.mobileconfig())
                .unwrap()
                .contains(url)
        );
    }

    #[test]
    fn a_code_is_a_square() {
        let code = Setup::new("x", "x-y", "dns.test", None).qr();
        let widths: Vec<usize> = code.lines().map(|line| line.chars().count()).collect();
        assert!(widths.iter().all(|width| *width == widths[0]));
        assert!(widths[0].abs_diff(widths.len() * 2) <= 1, "{code}");
    }
}
