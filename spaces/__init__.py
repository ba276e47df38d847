"""What a Hugging Face Space needs. Kept empty: where Gradio runs beside this folder, it imports the name `spaces`."""
