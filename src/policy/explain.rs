//! A verdict in words, for `taciturn check`, the API and the page.

use serde::Serialize;

use super::{Action, Effect, Hit, HitKind, Policy, RuleSet, Scope, Tier};
use crate::wire::Name;

/// Why a name is treated as it is.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Explanation {
    /// The name.
    pub name: String,
    /// What is done.
    pub action: Action,
    /// The rule that decides, as its list has it.
    pub rule: Option<String>,
    /// The list.
    pub list: Option<String>,
    /// The vendor.
    pub vendor: Option<String>,
    /// The category.
    pub category: Option<String>,
    /// Why the catalogue thinks so.
    pub evidence: Option<String>,
    /// Where that was found.
    pub sources: Vec<String>,
    /// What stops working when the name is blocked.
    pub breaks: Option<String>,
    /// A sentence: why this rule and no other.
    pub reason: String,
    /// The rules that fit as well, by precedence.
    pub others: Vec<OtherRule>,
}

/// A rule that fits and did not decide.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct OtherRule {
    /// What it asks for.
    pub action: Action,
    /// The rule.
    pub rule: String,
    /// Its list.
    pub list: String,
    /// Why the deciding rule outranks it.
    pub outranked: &'static str,
}

/// Explains what `rules` make of `name` under `policy`.
pub fn explain(rules: &RuleSet, policy: &Policy, name: &Name) -> Explanation {
    let verdict = rules.decide(policy, name);
    let hits = if policy.filtering {
        rules.explain(policy, name)
    } else {
        Vec::new()
    };
    let entry = verdict.hit.as_ref().and_then(|hit| rules.entry(hit));
    let winner = verdict.hit.as_ref();
    Explanation {
        name: name.to_string(),
        action: verdict.action,
        rule: winner.map(|hit| rules.rule_text(hit, name)),
        list: winner.map(|hit| rules.list_name(hit).to_owned()),
        vendor: winner.and_then(|hit| rules.vendor(hit)).map(str::to_owned),
        category: winner
            .and_then(|hit| rules.category(hit))
            .map(|c| c.to_string()),
        evidence: entry.map(|entry| entry.evidence.clone()),
        sources: entry.map(|entry| entry.sources.clone()).unwrap_or_default(),
        breaks: entry.map(|entry| entry.breaks.clone()),
        reason: reason(rules, policy, name, winner, hits.len()),
        others: hits
            .iter()
            .skip(1)
            .map(|hit| OtherRule {
                action: rules.action(policy, hit.effect),
                rule: rules.rule_text(hit, name),
                list: rules.list_name(hit).to_owned(),
                outranked: winner.map_or("", |winner| outranked(rules, policy, winner, hit)),
            })
            .collect(),
    }
}

fn reason(
    rules: &RuleSet,
    policy: &Policy,
    name: &Name,
    winner: Option<&Hit>,
    fitting: usize,
) -> String {
    let Some(hit) = winner else {
        return match policy.filtering {
            true => "no rule of any list fits".to_owned(),
            false => "filtering is off".to_owned(),
        };
    };
    let text = rules.rule_text(hit, name);
    let covers = match hit.kind {
        HitKind::Literal(labels, Scope::Exact) if usize::from(labels) == name.labels() => {
            format!("`{text}` names it exactly")
        }
        HitKind::Literal(labels, _) if usize::from(labels) == name.labels() => {
            format!("`{text}` names it")
        }
        HitKind::Literal(..) => format!("`{text}` covers what lies below it"),
        HitKind::Glob(_) => format!("the pattern `{text}` fits"),
        HitKind::Regex(_) => format!("the expression `{text}` fits"),
        HitKind::Network(_) => format!("an address in the answer lies in {text}"),
    };
    let why = match (hit.effect, rules.category(hit)) {
        (Effect::Entry(_), Some(category)) => {
            format!(
                ", and the policy for {category} is {}",
                policy.action(category)
            )
        }
        _ => String::new(),
    };
    let among = match fitting {
        0 | 1 => String::new(),
        n => format!("; first of {n} rules that fit"),
    };
    format!("{covers}{why}{among}")
}

/// Which of the rules of precedence put `winner` before `other`.
fn outranked(rules: &RuleSet, policy: &Policy, winner: &Hit, other: &Hit) -> &'static str {
    let tier = |hit: &Hit| rules.lists()[usize::from(hit.list)].tier;
    let (first, second) = (tier(winner), tier(other));
    if first != second {
        return match first {
            Tier::Own => "your own rules outrank lists",
            Tier::List => "lists outrank the catalogue",
            _ => "an entry outranks the zone it lies in",
        };
    }
    let allows = |hit: &Hit| {
        hit.effect == Effect::Act(Action::Allow)
            || rules
                .entry(hit)
                .is_some_and(|e| e.category == super::Category::MustResolve)
    };
    if allows(winner) && !allows(other) {
        return "allow beats block";
    }
    if specificity(rules, winner) != specificity(rules, other) {
        return "it is less specific";
    }
    if rules.action(policy, winner.effect) != rules.action(policy, other.effect) {
        return "block goes before record";
    }
    "the same rule on an earlier list goes first"
}

fn specificity(rules: &RuleSet, hit: &Hit) -> (usize, bool, bool) {
    match hit.kind {
        HitKind::Literal(labels, scope) => (labels.into(), true, scope == Scope::Exact),
        HitKind::Glob(number) => (rules.glob_labels(number), false, false),
        HitKind::Regex(_) | HitKind::Network(_) => (0, false, false),
    }
}
