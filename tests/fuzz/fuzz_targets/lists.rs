//! Lists come from strangers: every parser on any bytes, and the matcher on what they give.
#![no_main]

use libfuzzer_sys::fuzz_target;
use taciturn::lists::Format;
use taciturn::lists::parse::parse;
use taciturn::policy::{Action, ListInfo, Policy, RuleSetBuilder, Tier};
use taciturn::wire::Name;

fuzz_target!(|input: (&[u8], &[u8], u8)| {
    let (list, name, which) = input;
    let format = Format::ALL.get(usize::from(which % 8)).copied();
    let mut builder = RuleSetBuilder::default();
    builder.list(ListInfo {
        name: "fuzz".to_owned(),
        tier: Tier::List,
        category: None,
        vendor: None,
    });
    let Ok(report) = parse(list, format, None, |rule| builder.add(rule, Action::Block)) else {
        return;
    };
    assert!(report.junk_lines.len() <= 20);
    let (Ok(rules), Ok(name)) = (builder.build(), Name::read(name)) else {
        return;
    };
    let policy = Policy::default();
    let verdict = rules.decide(&policy, &name);
    assert_eq!(verdict.hit, rules.explain(&policy, &name).first().copied());
    if let Some(hit) = verdict.hit {
        rules.rule_text(&hit, &name);
    }
});
