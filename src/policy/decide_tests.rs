use proptest::prelude::*;

use super::*;

fn name(text: &str) -> Name {
    Name::from_text(text).unwrap()
}

fn literal(text: &str, scope: Scope) -> Rule {
    Rule::new(Pattern::Name(name(text), scope))
}

fn info(name: &str, tier: Tier) -> ListInfo {
    ListInfo {
        name: name.to_owned(),
        tier,
        category: None,
        vendor: None,
    }
}

fn entry(pattern: &str, category: Category) -> Entry {
    Entry {
        pattern: pattern.to_owned(),
        vendor: "xiaomi".into(),
        category,
        evidence: String::new(),
        sources: Vec::new(),
        breaks: String::new(),
        known: Vec::new(),
    }
}

/// Rules written as `tier action scope name`, one a line.
fn rules(text: &str) -> RuleSet {
    let mut builder = RuleSetBuilder::default();
    for line in text.lines().filter(|line| !line.trim().is_empty()) {
        let words: Vec<&str> = line.split_whitespace().collect();
        let tier = match words[0] {
            "own" => Tier::Own,
            "list" => Tier::List,
            "catalogue" => Tier::Catalogue,
            _ => Tier::Zone,
        };
        builder.list(info(line.trim(), tier));
        let pattern = match words[2] {
            "exact" => Pattern::Name(name(words[3]), Scope::Exact),
            "suffix" => Pattern::Name(name(words[3]), Scope::Suffix),
            "below" => Pattern::Name(name(words[3]), Scope::Below),
            "glob" => Pattern::Glob(Glob::from_text(words[3]).unwrap()),
            "regex" => Pattern::Regex(words[3].to_owned()),
            _ => Pattern::Network(words[3].parse().unwrap()),
        };
        match words[1] {
            "allow" => builder.add(Rule::new(pattern).allowing(true), Action::Block),
            "record" => builder.add(Rule::new(pattern), Action::Record),
            "block" => builder.add(Rule::new(pattern), Action::Block),
            category => {
                let category = Category::ALL.iter().find(|c| c.as_str() == category);
                builder.entry(entry(words[3], *category.unwrap()), pattern);
            }
        };
    }
    builder.build().unwrap()
}

fn winner(set: &RuleSet, asked: &str) -> (Action, String) {
    let policy = Policy::default();
    let verdict = set.decide(&policy, &name(asked));
    let by = verdict.hit.map(|hit| set.list_name(&hit).to_owned());
    let explained = set.explain(&policy, &name(asked));
    assert_eq!(explained.first().copied(), verdict.hit, "{asked}");
    (verdict.action, by.unwrap_or_default())
}

#[test]
fn scopes() {
    let set = rules(
        "list block exact e.example
         list block suffix s.example
         list block below b.example",
    );
    for (asked, blocked) in [
        ("e.example", true),
        ("x.e.example", false),
        ("s.example", true),
        ("y.x.s.example", true),
        ("ss.example", false),
        ("b.example", false),
        ("x.b.example", true),
        ("example", false),
    ] {
        assert_eq!(winner(&set, asked).0 == Action::Block, blocked, "{asked}");
    }
}

#[test]
fn allow_beats_block_within_a_tier() {
    let set = rules(
        "list block suffix ads.example
         list allow suffix example
         catalogue telemetry suffix t.vendor.test
         catalogue must-resolve exact x.t.vendor.test",
    );
    assert_eq!(winner(&set, "ads.example").0, Action::Allow);
    assert_eq!(winner(&set, "x.t.vendor.test").0, Action::Allow);
    assert_eq!(winner(&set, "y.t.vendor.test").0, Action::Block);
    assert_eq!(winner(&set, "y.x.t.vendor.test").0, Action::Block);
}

#[test]
fn the_owner_outranks_lists_and_lists_the_catalogue() {
    let set = rules(
        "catalogue must-resolve exact a.test
         list block suffix a.test
         list block suffix b.test
         own allow suffix b.test
         list allow suffix c.test
         own block suffix c.test",
    );
    assert_eq!(winner(&set, "a.test").0, Action::Block);
    assert_eq!(winner(&set, "b.test").0, Action::Allow);
    assert_eq!(winner(&set, "c.test").0, Action::Block);
}

#[test]
fn a_recording_list_does_not_soften_the_catalogue() {
    let set = rules(
        "list record suffix ads.vendor.test
         catalogue ads suffix ads.vendor.test
         catalogue store suffix shop.vendor.test",
    );
    assert_eq!(winner(&set, "ads.vendor.test").0, Action::Block);
    assert_eq!(winner(&set, "shop.vendor.test").0, Action::Record);
}

#[test]
fn the_most_specific_rule_wins() {
    let set = rules(
        "catalogue ads suffix vendor.test
         catalogue store suffix shop.vendor.test
         catalogue telemetry glob stat-*.shop.vendor.test
         catalogue push suffix stat-eu.shop.vendor.test
         zone unclassified suffix test
         catalogue telemetry regex ^shop",
    );
    assert_eq!(winner(&set, "x.vendor.test").0, Action::Block);
    assert_eq!(winner(&set, "shop.vendor.test").0, Action::Record);
    assert_eq!(winner(&set, "stat-us.shop.vendor.test").0, Action::Block);
    assert_eq!(winner(&set, "stat-eu.shop.vendor.test").0, Action::Record);
    assert_eq!(
        winner(&set, "other.test").1,
        "zone unclassified suffix test"
    );
    assert_eq!(winner(&set, "shop.test").0, Action::Block);
}

#[test]
fn ties_go_to_block_then_to_the_earlier_list() {
    let set = rules(
        "list record suffix a.test
         catalogue store suffix a.test
         catalogue ads suffix a.test
         list block suffix b.test
         list block exact b.test
         list block suffix c.test
         list block suffix c.test",
    );
    assert_eq!(winner(&set, "a.test").1, "catalogue ads suffix a.test");
    assert_eq!(winner(&set, "b.test").1, "list block exact b.test");
    let (_, hits) = (0, set.explain(&Policy::default(), &name("c.test")));
    assert_eq!(hits.len(), 2);
    assert!(hits[0].list < hits[1].list);
}

#[test]
fn a_category_that_is_left_alone_is_no_exception() {
    let set = rules(
        "catalogue unknown suffix sec.vendor.test
         catalogue ads suffix adv.sec.vendor.test",
    );
    let mut policy = Policy::default();
    policy.set(Category::Unknown, Action::Allow);
    let decide = |text| set.decide(&policy, &name(text)).action;
    assert_eq!(decide("x.sec.vendor.test"), Action::Allow);
    assert_eq!(decide("adv.sec.vendor.test"), Action::Block);
}

#[test]
fn rule_texts_read_like_the_list() {
    let set = rules(
        "list block below b.example
         list block glob a-*.example
         list block regex ^x[0-9]+
         list block net 192.0.2.0/24",
    );
    let policy = Policy::default();
    let text = |asked: &str| {
        let asked = name(asked);
        let hit = set.decide(&policy, &asked).hit.unwrap();
        set.rule_text(&hit, &asked)
    };
    assert_eq!(text("c.d.b.example"), "*.b.example");
    assert_eq!(text("a-1.example"), "a-*.example");
    assert_eq!(text("x12.test"), "/^x[0-9]+/");
    let hit = set
        .decide_address(&policy, "192.0.2.9".parse().unwrap())
        .hit;
    assert_eq!(
        set.rule_text(&hit.unwrap(), &name("q.test")),
        "192.0.2.0/24"
    );
}

#[test]
fn filtering_off_decides_nothing() {
    let set = rules("own block suffix example");
    let mut policy = Policy::default();
    policy.filtering = false;
    assert_eq!(set.decide(&policy, &name("example")), Verdict::UNLISTED);
}

#[test]
fn duplicates_are_told() {
    let mut builder = RuleSetBuilder::default();
    builder.list(info("a", Tier::List));
    for (text, scope) in [
        ("x.test", Scope::Suffix),
        ("X.test", Scope::Suffix),
        ("x.test", Scope::Exact),
    ] {
        builder.add(literal(text, scope), Action::Block);
    }
    builder.list(info("b", Tier::List));
    builder.add(literal("x.test", Scope::Suffix), Action::Block);
    for _ in 0..2 {
        let network = Pattern::Network("192.0.2.0/24".parse().unwrap());
        builder.add(Rule::new(network), Action::Block);
    }
    assert_eq!(builder.build().unwrap().duplicates(), [1, 1]);
}

/// The rules of precedence written down a second time, without tables: the judge of the property test.
fn naive(lines: &[(u8, bool, u8, String)], asked: &str) -> Action {
    let labels = |text: &str| text.split('.').count();
    let fits = |scope: u8, text: &str| match scope {
        0 => asked == text,
        1 => asked == text || asked.ends_with(&format!(".{text}")),
        _ => asked.ends_with(&format!(".{text}")),
    };
    lines
        .iter()
        .filter(|(_, _, scope, text)| fits(*scope, text))
        .max_by_key(|(tier, allow, scope, text)| (*tier, *allow, labels(text), *scope == 0))
        .map_or(Action::Allow, |(_, allow, ..)| {
            if *allow { Action::Allow } else { Action::Block }
        })
}

proptest! {
    #[test]
    fn agrees_with_a_naive_reading(
        lines in prop::collection::vec(
            (0u8..2, any::<bool>(), 0u8..3, "([ab]\\.){0,3}[ab]"), 0..25),
        asked in "([ab]\\.){0,4}[ab]",
    ) {
        let mut builder = RuleSetBuilder::default();
        for (tier, allow, scope, text) in &lines {
            builder.list(info("l", if *tier == 0 { Tier::List } else { Tier::Own }));
            let scope = [Scope::Exact, Scope::Suffix, Scope::Below][*scope as usize];
            builder.add(literal(text, scope).allowing(*allow), Action::Block);
        }
        let set = builder.build().unwrap();
        let verdict = set.decide(&Policy::default(), &name(&asked));
        prop_assert_eq!(verdict.action, naive(&lines, &asked));
    }
}
