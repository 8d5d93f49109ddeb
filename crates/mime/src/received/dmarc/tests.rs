//! Reports as reporters write them, and as attackers do.

use super::*;

/// The sample of RFC 9990, Appendix B, shortened.
const SAMPLE: &str = r#"<feedback xmlns="urn:ietf:params:xml:ns:dmarc-2.0">
  <version>1.0</version>
  <report_metadata>
    <org_name>Sample Reporter</org_name>
    <email>report_sender@example-reporter.com</email>
    <extra_contact_info>...</extra_contact_info>
    <report_id>3v98abbp8ya9n3va8yr8oa3ya</report_id>
    <date_range>
      <begin>302832000</begin>
      <end>302918399</end>
    </date_range>
    <generator>Example DMARC Aggregate Reporter v1.2</generator>
  </report_metadata>
  <policy_published>
    <domain>Example.com</domain>
    <p>quarantine</p>
    <sp>none</sp>
    <testing>n</testing>
    <discovery_method>treewalk</discovery_method>
  </policy_published>
  <record>
    <row>
      <source_ip>192.0.2.123</source_ip>
      <count>123</count>
      <policy_evaluated>
        <disposition>pass</disposition>
        <dkim>pass</dkim>
        <spf>fail</spf>
      </policy_evaluated>
    </row>
    <identifiers>
      <envelope_from>example.com</envelope_from>
      <header_from>example.com</header_from>
    </identifiers>
    <auth_results>
      <dkim>
        <domain>example.com</domain>
        <result>fail</result>
        <selector>abc123</selector>
      </dkim>
      <spf>
        <domain>example.com</domain>
        <result>pass</result>
      </spf>
    </auth_results>
  </record>
</feedback>"#;

fn text(inner: &str) -> String {
    format!(
        "<feedback><report_metadata><org_name>r</org_name><report_id>1</report_id>\
         <date_range><begin>0</begin><end>86399</end></date_range></report_metadata>\
         <policy_published><domain>x.test</domain><p>none</p></policy_published>{inner}</feedback>"
    )
}

fn row(source: &str, count: &str, dkim: &str) -> String {
    format!(
        "<record><row><source_ip>{source}</source_ip><count>{count}</count><policy_evaluated>\
         <disposition>none</disposition><dkim>{dkim}</dkim><spf>fail</spf></policy_evaluated></row>\
         </record>"
    )
}

fn read_text(text: &str) -> Result<DmarcReport, ReportError> {
    read(text.as_bytes())
}

#[test]
fn the_sample_of_the_rfc_is_read() {
    let report = read_text(SAMPLE).unwrap();
    let expected = DmarcReport {
        reporter: "Sample Reporter".into(),
        id: "3v98abbp8ya9n3va8yr8oa3ya".into(),
        domain: "example.com".into(),
        begin: 302_832_000,
        end: 302_918_399,
        rows: vec![DmarcSummaryRow {
            source: "192.0.2.123".parse().unwrap(),
            dkim: true,
            spf: false,
            disposition: "pass".into(),
            count: 123,
        }],
        other_passed: 0,
        other_failed: 0,
    };
    assert_eq!(report, expected);
    // As RFC 7489 has it, with a prefix, with an XML declaration.
    let older = SAMPLE.replace(" xmlns=\"urn:ietf:params:xml:ns:dmarc-2.0\"", "");
    assert_eq!(read_text(&older).unwrap(), expected);
    let declared =
        format!("\u{feff}<?xml version=\"1.0\" encoding=\"UTF-8\" ?>\r\n<!-- a -->{SAMPLE}\n");
    assert_eq!(read_text(&declared).unwrap(), expected);
    let prefixed = SAMPLE
        .replace("</", "</d:")
        .replace('<', "<d:")
        .replace("<d:/d:", "</d:")
        .replace("xmlns=", "xmlns:d=");
    assert_eq!(read_text(&prefixed).unwrap(), expected);
}

#[test]
fn rows_that_are_alike_are_added_up() {
    let rows = [
        row("192.0.2.1", "1", "pass"),
        row("192.0.2.1", " 2 ", "Pass"),
        row("192.0.2.1", "4", "fail"),
        row("2001:db8::1", "99999999999999999", "fail"),
        row("not an address", "8", "fail"),
        row("192.0.2.9", "many", "fail"),
    ];
    let report = read_text(&text(&rows.concat())).unwrap();
    let counts: Vec<_> = report.rows.iter().map(|row| (row.dkim, row.count)).collect();
    assert_eq!(counts, [(true, 3), (false, 4), (false, COUNT)]);
    assert_eq!((report.other_passed, report.other_failed), (0, 8));
}

#[test]
fn a_large_report_has_a_small_summary() {
    let rows: String = (0..5_000_u32)
        .map(|n| row(&std::net::Ipv4Addr::from_bits(n).to_string(), "1", "pass"))
        .collect();
    let report = read_text(&text(&rows)).unwrap();
    assert_eq!((report.rows.len(), report.other_passed), (ROWS, 5_000 - ROWS as u64));
}

#[test]
fn values_are_unescaped_and_cut() {
    let named = |name: &str| read_text(&text("").replace(">r<", &format!(">{name}<")));
    for (written, expected) in [
        ("A &amp; B", "A & B"),
        ("&#65;&#x42;", "AB"),
        ("<![CDATA[a <b>]]>", "a <b>"),
        ("a<!-- c -->b", "ab"),
        ("a\u{202e}b\u{1}c", "a b c"),
    ] {
        assert_eq!(named(written).unwrap().reporter, expected, "{written}");
    }
    assert!(named(&"ă".repeat(5_000)).unwrap().reporter.len() <= super::super::NAME);
}

#[test]
fn hostile_documents_are_refused() {
    let entities = "<!DOCTYPE f [<!ENTITY a \"ha\"><!ENTITY b \"&a;&a;\">]>".to_owned();
    let deep = format!("{}{}", "<a>".repeat(100), "</a>".repeat(100));
    let end = SAMPLE.len() - 5;
    for (name, document) in [
        ("nothing", String::new()),
        ("another element", "<html></html>".to_owned()),
        ("a DTD", format!("{entities}{}", text("&b;"))),
        ("an external DTD", format!("<!DOCTYPE f SYSTEM \"file:///etc/passwd\">{}", text(""))),
        ("an entity", text("<record>&xxe;</record>")),
        ("a wrong character", text("&#0;")),
        ("depth", text(&deep)),
        ("a long name", text(&format!("<{0}></{0}>", "a".repeat(PIECE * 2)))),
        ("long attributes", text(&format!("<a b=\"{}\"/>", "c".repeat(PIECE * 2)))),
        ("a long comment", text(&format!("<!--{}-->", "c".repeat(PIECE * 2)))),
        ("cut off", SAMPLE[..end].to_owned()),
        ("wrong nesting", text("<a><b></a></b>")),
        ("two reports", format!("{0}{0}", text(""))),
        ("text behind it", format!("{} more", text(""))),
        ("no domain", text("").replace("x.test", "")),
        ("no period", text("").replace("<end>86399</end>", "")),
        ("no id", text("").replace("report_id", "id")),
    ] {
        assert!(matches!(read_text(&document), Err(ReportError::Malformed(_))), "{name}");
    }
    assert!(read(&b"<feedback>\xff\xfe</feedback>"[..]).is_err());
}
