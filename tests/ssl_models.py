"""Small self-supervised models with random weights, as folders of safetensors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

SIZES = {
    "hidden_size": 16,
    "num_hidden_layers": 3,
    "num_attention_heads": 2,
    "intermediate_size": 32,
    "conv_dim": [8] * 7,
    "num_conv_pos_embeddings": 16,
    "num_conv_pos_embedding_groups": 2,
    "vocab_size": 12,
}
LARGE = {"feat_extract_norm": "layer", "do_stable_layer_norm": True, "conv_bias": True}
WHISPER = {
    "d_model": 16,
    "encoder_layers": 3,
    "encoder_attention_heads": 2,
    "encoder_ffn_dim": 32,
    "decoder_layers": 1,
    "decoder_attention_heads": 2,
    "decoder_ffn_dim": 32,
    "max_source_positions": 100,
    "vocab_size": 12,
    "pad_token_id": 0,
    "bos_token_id": 1,
    "eos_token_id": 2,
    "decoder_start_token_id": 1,
}
FAMILIES: dict[str, tuple[str, str, dict[str, Any]]] = {
    "wav2vec2": ("Wav2Vec2Config", "Wav2Vec2ForCTC", SIZES),
    "xlsr": ("Wav2Vec2Config", "Wav2Vec2ForPreTraining", {**SIZES, **LARGE}),
    "hubert": ("HubertConfig", "HubertModel", SIZES),
    "wavlm": ("WavLMConfig", "WavLMModel", {**SIZES, "num_buckets": 32}),
    "whisper": ("WhisperConfig", "WhisperForConditionalGeneration", WHISPER),
}


def make(folder: Path, family: str, **more: Any) -> Path:
    """A folder with config.json, preprocessor_config.json and model.safetensors."""
    import torch
    import transformers

    config_name, model_name, sizes = FAMILIES[family]
    if family == "xlsr":
        more = {"codevector_dim": 8, "proj_codevector_dim": 8, **more}
    config = getattr(transformers, config_name)(**{**sizes, **more})
    transformers.logging.disable_progress_bar()
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        network = getattr(transformers, model_name)(config)
        for parameter in network.parameters():  # biases and scales too, which start at 0 and 1
            parameter.data += 0.1 * torch.randn_like(parameter)
    network.save_pretrained(folder)
    if family == "whisper":
        told = {"feature_size": 80, "n_fft": 400, "hop_length": 160, "sampling_rate": 16_000}
    else:
        told = {"do_normalize": family != "wavlm", "sampling_rate": 16_000}
    (folder / "preprocessor_config.json").write_text(json.dumps(told))
    return folder
