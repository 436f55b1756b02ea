//! The contract of standing claims, clause by clause; `contract.rs` runs it on every engine.

use super::contract::Engine;
use super::samples::*;
use postseal::mail::ReversePath;
use postseal::seal::Sealed;
use postseal::spool::{Lease, Records, SoFar, Spool, SpoolError, StandingClaim};
use std::time::Duration;

const LEASE: Duration = Duration::from_mins(10);

/// A standing claim with room for so many recipients.
fn stand(spool: &impl Spool, host: &str, recipients: usize) -> StandingClaim {
    let standing = spool.stand(&queue(host));
    standing.allow(recipients, LEASE);
    standing
}

/// What is granted, once there are so many leases: an engine may answer whoever commits first. With 0, what comes within a moment.
async fn granted(standing: &mut StandingClaim, count: usize) -> Vec<Lease> {
    let patience = if count == 0 { Duration::from_millis(50) } else { Duration::from_secs(10) };
    let mut leases = Vec::new();
    while let Ok(mut more) = tokio::time::timeout(patience, standing.granted()).await {
        leases.append(&mut more);
        if leases.len() >= count {
            break;
        }
    }
    leases
}

/// `1: a@x.example b@x.example; 2: c@x.example`.
fn told(leases: &[Lease]) -> String {
    let one = |lease: &Lease| {
        let recipients: Vec<_> = lease.recipients.iter().map(|recipient| recipient.mailbox.to_string()).collect();
        format!("{}: {}", lease.mail.id.number(), recipients.join(" "))
    };
    leases.iter().map(one).collect::<Vec<_>>().join("; ")
}

/// Recipients of two queues, two bounce addresses and a person who is not written to.
fn several(number: u64) -> Sealed {
    let mut mail = mail(number, &["a@x.example", "b@y.example", "c@x.example", "d@x.example"]);
    mail.recipients[2].reverse_path = ReversePath::Null;
    mail
}

pub async fn fresh_mail_is_leased_with_its_commit(engine: impl Engine) {
    let spool = engine.open(0);
    commit(&spool, several(1)).await;
    let claimed = claim(&spool, "x.example", 0).await;
    let mut standing = stand(&spool, "x.example", 10);
    commit(&spool, Sealed { message: message(1, 100), message_id: "<1@example.com>".to_owned(), ..several(2) }).await;
    let leases = granted(&mut standing, 2).await;
    assert_eq!(told(&leases), "2: a@x.example d@x.example; 2: c@x.example", "one for each reverse-path");
    for (lease, other) in leases.iter().zip(&claimed) {
        assert_eq!((&lease.reverse_path, &lease.recipients, lease.until), (&other.reverse_path, &other.recipients, other.until));
        let mut mail = (*lease.mail).clone();
        mail.id = other.mail.id;
        assert_eq!(mail, *other.mail, "what a claim would have given");
        assert_ne!(lease.fence(), other.fence());
    }
    assert_eq!(due(&spool, 0).await, "y.example@0", "the other queue is nobody's, and this one is all under lease");
    assert_eq!(spool.message(id(2)).await.unwrap(), message(1, 100).octets());
    for lease in leases {
        let endings = all(&lease, &delivered(1));
        spool.settle(lease, endings, vec![]).await.unwrap();
    }
    let outcomes: Vec<_> = spool.history(id(2)).await.unwrap().unwrap().recipients.into_iter().map(|recipient| recipient.outcome).collect();
    assert_eq!(outcomes, [SoFar::Delivered, SoFar::Waiting, SoFar::Delivered, SoFar::Delivered]);
}

pub async fn a_standing_claim_takes_messages_whole_and_no_more_than_it_has_room_for(engine: impl Engine) {
    let spool = engine.open(0);
    let mut standing = stand(&spool, "x.example", 3);
    commit(&spool, mail(1, &["a@x.example", "b@x.example"])).await;
    commit(&spool, mail(2, &["a@x.example", "b@x.example"])).await;
    commit(&spool, mail(3, &["a@x.example"])).await;
    assert_eq!(told(&granted(&mut standing, 2).await), "1: a@x.example b@x.example; 3: a@x.example");
    assert_eq!(told(&granted(&mut standing, 0).await), "", "its room is used up");
    assert_eq!(told(&claim(&spool, "x.example", 0).await), "2: a@x.example b@x.example", "what it had no room for is due");
    standing.allow(1, LEASE);
    commit(&spool, mail(4, &["a@x.example"])).await;
    assert_eq!(told(&granted(&mut standing, 1).await), "4: a@x.example");
}

pub async fn nobody_stands_in_the_way_of_a_park_or_a_later_time(engine: impl Engine) {
    let spool = engine.open(0);
    let mut standing = stand(&spool, "x.example", 10);
    commit(&spool, Sealed { due_at: at(60), ..mail(1, &["a@x.example"]) }).await;
    assert_eq!(told(&granted(&mut standing, 0).await), "", "it is to wait");
    assert_eq!((due(&spool, 59).await, due(&spool, 60).await), (String::new(), "x.example@60".to_owned()));
    spool.park(&queue("x.example"), at(100)).await.unwrap();
    commit(&spool, mail(2, &["a@x.example"])).await;
    assert_eq!(told(&granted(&mut standing, 0).await), "", "nothing of a parked queue goes");
    assert_eq!((due(&spool, 99).await, due(&spool, 100).await), (String::new(), "x.example@100".to_owned()));
    commit(&spool, Sealed { accepted_at: at(100), due_at: at(100), ..mail(3, &["a@x.example"]) }).await;
    assert_eq!(told(&granted(&mut standing, 1).await), "3: a@x.example");
}

pub async fn what_a_standing_claim_left_is_due_when_its_lease_runs_out(engine: impl Engine) {
    let spool = engine.open(0);
    let mut standing = stand(&spool, "x.example", 10);
    commit(&spool, mail(1, &["a@x.example"])).await;
    let leases = granted(&mut standing, 1).await;
    assert_eq!((due(&spool, 599).await, due(&spool, 600).await), (String::new(), "x.example@600".to_owned()));
    let second = claim_one(&spool, "x.example", 600).await;
    assert_eq!((second.recipients[0].attempts, second.recipients[0].unknown_ends), (1, 1));
    for lease in leases {
        let endings = all(&lease, &delivered(601));
        let ended = spool.settle(lease, endings, vec![]).await;
        assert!(matches!(ended, Err(SpoolError::LeaseLost(_))), "{ended:?}");
    }
}

pub async fn a_claim_that_is_over_is_granted_nothing(engine: impl Engine) {
    let spool = engine.open(0);
    let standing = stand(&spool, "x.example", 10);
    commit(&spool, mail(1, &["a@x.example"])).await;
    assert_eq!(told(&standing.end().await), "1: a@x.example", "what was granted before the end");
    commit(&spool, mail(2, &["a@x.example"])).await;
    drop(stand(&spool, "x.example", 10));
    commit(&spool, mail(3, &["a@x.example"])).await;
    let first = stand(&spool, "x.example", 10);
    let mut second = stand(&spool, "x.example", 10);
    assert_eq!(told(&first.end().await), "", "another took its place, which it leaves there");
    commit(&spool, mail(4, &["a@x.example"])).await;
    assert_eq!(told(&granted(&mut second, 1).await), "4: a@x.example");
    assert_eq!(told(&claim(&spool, "x.example", 0).await), "2: a@x.example; 3: a@x.example");
}

pub async fn a_refused_commit_grants_nothing(engine: impl Engine) {
    let spool = engine.open(0);
    let mut standing = stand(&spool, "x.example", 10);
    commit(&spool, mail(1, &["a@y.example"])).await;
    let refused = spool.commit(vec![mail(2, &["a@x.example"]), mail(1, &["a@x.example"])]).await;
    assert!(matches!(refused, Err(SpoolError::IdTaken(_))), "{refused:?}");
    assert_eq!(told(&granted(&mut standing, 0).await), "");
    assert_eq!(spool.message(id(1)).await.unwrap(), message(1, 100).octets(), "the one that was there");
    assert_eq!(counts(&spool).await, "1 1 0");
}

pub async fn granted_mail_is_due_after_a_restart(engine: impl Engine) {
    let spool = engine.open(0);
    let mut standing = stand(&spool, "x.example", 10);
    commit(&spool, mail(1, &["a@x.example"])).await;
    assert_eq!(told(&granted(&mut standing, 1).await), "1: a@x.example");
    spool.close().await;
    let spool = engine.open(5);
    let again = claim_one(&spool, "x.example", 5).await;
    assert_eq!((again.mail.id, again.recipients[0].unknown_ends), (id(1), 1), "somebody may have tried it");
}
