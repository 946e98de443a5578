//! Templates of real models, and what they refuse.

use super::*;

#[test]
fn chat_ml_by_hand() {
    let template = ChatTemplate::from_source(
        "{% for m in messages %}{{ m.role }}: {{ m['content'] }}\n{% endfor %}",
        "",
        "",
    )
    .unwrap();
    let text = template
        .render(&[ChatMessage::new(Role::User, "hi")], RenderOptions::default())
        .unwrap();
    assert_eq!(text, "user: hi\n");
}
