"""The `.then` language: text to rules and back."""
