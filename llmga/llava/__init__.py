"""The multimodal language model: conversation -> text -> ids -> streamed answer -> generation prompts."""
