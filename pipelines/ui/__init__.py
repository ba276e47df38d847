"""What the tabs share: the screen, its style, the sidebar, the loaded engine and the work under way."""
