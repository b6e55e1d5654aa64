//! Explanations of the questions for people: what each counts, and what its page will show.

use crate::backend::insights::parameters::QuestionName;

/// Returns what the page of a question counts.
pub(super) const fn definition(question: QuestionName) -> &'static str {
    match question {
        QuestionName::Overview => {
            "Active installations today, in 7 and in 30 days, and the last complete day against 7 and 30 days before \
             it. New: first received in the week. Gone: confirmed, and not received for 30 days. Sizes are those of \
             the installations active in 30 days, whatever the window is; states are of control planes on the last \
             complete day."
        }
        QuestionName::Versions => {
            "Of the active installations of a day, those that run a minor version; of a week, the state of its \
             Wednesday. The first sighting of a version is the first day with 3 active installations at or above it \
             in its line; from there, the days until half, and nine in ten, of the line are at or above it."
        }
        QuestionName::TestMatrix => {
            "Active installations by their pair of minor versions in their last reports. The largest pairs are chosen \
             until they cover enough of those whose two versions are known: no other pairs cover as many with fewer. \
             Each has the exact versions that most of its installations run."
        }
        QuestionName::Health => {
            "Installations active in 7 days that are stuck, by exact version of Kamaji, with Wilson's interval of \
             95 %. The difference is to the newest older version of its line that 20 or more run, with Newcombe's \
             interval. Worse or better is said only where that interval leaves out zero and both versions have 20 \
             installations."
        }
        QuestionName::Upgrades => {
            "Updates of control planes in complete weeks, from one minor version to another. One that skips a minor is \
             coalesced: Kamaji refuses to skip, so that two updates were seen as one. Days are counted from the first \
             day by which three events made or reached the minor."
        }
        QuestionName::Deprecation => {
            "Active installations at or below a minor version in its line. The date is that on which the share falls \
             under 5 %, by the median slope (Theil and Sen) of its logit over the last 12 complete weeks; the range is \
             that of the quartiles of the slopes."
        }
        QuestionName::Features => {
            "For each feature, how many tell it of how many, and the values of those that tell. Extended signals are \
             off by default: those that tell are not a sample of all. An installation may have several values."
        }
        QuestionName::Coverage => {
            "Installations by the day of their last receipt and their standing today, by source. Refused records by \
             day and reason. The backend was away in hours of which it served less than half. A day is unusual if its \
             new installations are 20 or more, and five times the median of the 28 days before."
        }
    }
}

/// Returns what the page of a question will show, and from what data.
pub(super) const fn awaited(question: QuestionName) -> &'static str {
    match question {
        QuestionName::Overview => {
            "This page will show how many installations are active, how they grow, and what to build, test, fix and \
             deprecate. An installation counts once it was received on two UTC days, at least 20 hours apart."
        }
        QuestionName::Versions => {
            "This page will show the share of each minor version by day, and how fast a new one spreads. It is made \
             from the versions that agents report every five minutes."
        }
        QuestionName::TestMatrix => {
            "This page will show the fewest pairs of Kamaji and Kubernetes that cover most installations. It is made \
             from the versions that agents report every five minutes."
        }
        QuestionName::Health => {
            "This page will show the share of installations with stuck control planes by release. It is made from the \
             states that agents report on two days running."
        }
        QuestionName::Upgrades => {
            "This page will show between which minor versions control planes are updated, and how soon. It is made \
             from the events that agents send when a control plane changes."
        }
        QuestionName::Deprecation => {
            "This page will show how many run a minor version or an older one, and when they are under 5 %. It is made \
             from the versions that agents report every five minutes."
        }
        QuestionName::Features => {
            "This page will show which drivers, tenant versions and network profiles are used. It is made from what \
             agents report whose extended signals are on."
        }
        QuestionName::Coverage => {
            "This page will show who reports, what was refused, and when the backend was away. It is made from \
             everything that is received."
        }
    }
}
