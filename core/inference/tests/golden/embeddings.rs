//! MiniLM embeddings beside sentence-transformers'.

use hearth_inference::embedding::{EmbedOptions, TextEmbedder};

use super::{golden, model_folder};

#[derive(serde::Deserialize)]
struct Golden {
    max_tokens: usize,
    texts: Vec<String>,
    embeddings: Vec<Vec<f32>>,
}

fn cosine_distance(a: &[f32], b: &[f32]) -> f64 {
    let dot = |x: &[f32], y: &[f32]| x.iter().zip(y).map(|(x, y)| f64::from(x * y)).sum::<f64>();
    1.0 - dot(a, b) / (dot(a, a) * dot(b, b)).sqrt()
}

#[test]
fn minilm_embeds_as_sentence_transformers_does() {
    let golden: Golden = golden("minilm.json");
    let embedder = TextEmbedder::load(&model_folder("all-minilm-l6-v2"), EmbedOptions::default()).unwrap();
    assert_eq!(embedder.max_tokens(), golden.max_tokens);
    let texts: Vec<&str> = golden.texts.iter().map(String::as_str).collect();
    let embeddings = embedder.embed(&texts).unwrap();
    assert_eq!(embeddings.len(), golden.embeddings.len());
    let mut far = Vec::new();
    let mut farthest = 0.0_f64;
    for ((text, ours), theirs) in texts.iter().zip(&embeddings).zip(&golden.embeddings) {
        let distance = cosine_distance(ours, theirs);
        let length = ours.iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((length - 1.0).abs() < 1e-4, "{text:?} has length {length}");
        farthest = farthest.max(distance);
        if distance > 1e-3 {
            far.push(format!("{distance:.2e} {text:?}"));
        }
    }
    println!("largest cosine distance of {} texts: {farthest:.2e}", texts.len());
    assert!(
        far.is_empty(),
        "too far from sentence-transformers:\n{}",
        far.join("\n")
    );
}
