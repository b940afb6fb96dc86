//! `interlock demo --keep`: enrols the person at the terminal, by the demo approver's decision, so that production can be approved later.

use super::chairman::Chairman;
use crate::{
    cli::people::{keys::SealedKey, passphrase},
    config::Workspace,
    decisions::Enrolment,
    model::{ApproverName, DecisionKind},
};
use serde_json::json;

/// Asks for a passphrase and enrols `you`; without a terminal it says what that means.
pub async fn enrol_person(workspace: &Workspace, chairman: &Chairman) -> anyhow::Result<()> {
    let name = ApproverName::from("you");
    let Ok(chosen) = passphrase("a passphrase of yours, to approve in this workspace later: ") else {
        println!("          no terminal: nobody can approve production here once the demo's approver is gone");
        return Ok(());
    };
    let (sealed, _) = SealedKey::create(&name, &chosen)?;
    let enrolment = Enrolment { name, role: "chairman".into(), public_key: sealed.public_key.clone().into(), further: false };
    chairman.approve(DecisionKind::Approver, json!(enrolment)).await?;
    sealed.save(&workspace.approvers_dir())?;
    println!("          enrolled `you` {}", sealed.public_key.fingerprint());
    Ok(())
}
