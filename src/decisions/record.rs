//! Checks every decision of the record again: anybody who has the record can, also without the person and the authenticator.

use crate::{
    engine::Engine,
    error::{Code, Error, Result},
    model::ApproverName,
    store::Approver,
};
use std::collections::BTreeMap;

const PAGE: u32 = 500;

/// Returns how many decisions the record holds; `audit_broken` for the first that no key of its approver has signed.
pub async fn verify_signatures(engine: &Engine) -> Result<u64> {
    let approvers = engine.store.approvers().await?;
    let approvers: BTreeMap<&ApproverName, &Approver> = approvers.iter().map(|approver| (&approver.name, approver)).collect();
    let (mut last, mut verified) = (0, 0);
    loop {
        let page = engine.store.decisions_after(last, PAGE).await?;
        let Some((newest, _)) = page.last() else { return Ok(verified) };
        last = *newest;
        for (number, signed) in &page {
            let name = &signed.decision.approver;
            let broken = |why: &str| Error::new(Code::AuditBroken, format!("decision {number} is not what `{name}` has signed: {why}"));
            let approver = approvers.get(name).ok_or_else(|| broken("nobody of that name is an approver"))?;
            // A key that was found to be cloned later has signed all the same.
            approver.signer(signed).map_err(|unfit| broken(&unfit.to_string()))?;
            verified += 1;
        }
    }
}
