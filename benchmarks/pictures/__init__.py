"""The pictures of what each module does, drawn from the modules themselves."""
