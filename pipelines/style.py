"""How the page looks and which keys it knows: theme, CSS and JavaScript, all of it served from this machine."""

from __future__ import annotations

import gradio as gr

SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")


def theme() -> gr.themes.Base:
    """Monochrome, whose contrast passes AA in light and dark, with rounder corners and the reader's own fonts."""
    return gr.themes.Monochrome(
        neutral_hue="slate",
        spacing_size="md",
        radius_size="md",
        text_size="md",
        font=list(SANS),
        font_mono=list(MONO),
    ).set(
        body_background_fill="*neutral_50",
        body_background_fill_dark="*neutral_950",
        button_primary_background_fill="#0f5c4d",
        button_primary_background_fill_hover="#0b4a3e",
        button_primary_background_fill_dark="#12705e",
        button_primary_background_fill_hover_dark="#0f5c4d",
        button_primary_text_color="white",
        button_primary_text_color_dark="white",
        slider_color="#0f5c4d",
        slider_color_dark="#1f9d84",
    )


CSS = """
.gradio-container { max-width: 1400px !important; }
.brisk-title h1 { font-size: 1.5rem; font-weight: 650; margin: 0; letter-spacing: -0.01em; }
.brisk-title p { margin: 2px 0 0; color: var(--body-text-color-subdued); }
.brisk-intro { margin: 4px 0 0; color: var(--body-text-color-subdued); }
.brisk-line { font-size: .875rem; line-height: 1.5; color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.brisk-line b { color: var(--body-text-color); font-weight: 600; margin-right: .35em; }
.brisk-line p { margin: 4px 0 0; }
.brisk-line.busy b::before { content: ""; display: inline-block; width: .55em; height: .55em; margin-right: .5em;
  border-radius: 50%; background: #0f5c4d; animation: brisk-pulse 1.2s ease-in-out infinite; }
.dark .brisk-line.busy b::before { background: #34d1b2; }
@keyframes brisk-pulse { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { .brisk-line.busy b::before { animation: none; } }
.brisk-line-place { min-height: 3em; }
.brisk-output textarea:disabled { color: var(--body-text-color); -webkit-text-fill-color: var(--body-text-color);
  opacity: 1; }
.brisk-copy { align-self: flex-end; flex-grow: 0 !important; width: auto; }
.brisk-engine dl { display: grid; grid-template-columns: auto 1fr; gap: 2px 12px; margin: 8px 0 0;
  font-size: .875rem; }
.brisk-engine dt { color: var(--body-text-color-subdued); }
.brisk-engine dd { margin: 0; overflow-wrap: anywhere; }
.brisk-engine .state { font-weight: 600; overflow-wrap: anywhere; }
.brisk-engine .note { font-size: .875rem; color: var(--body-text-color-subdued); margin: 8px 0 0;
  overflow-wrap: anywhere; }
.brisk-engine .error { color: #b42318; font-size: .875rem; margin: 8px 0 0; overflow-wrap: anywhere; }
.dark .brisk-engine .error { color: #ff9c91; }
.brisk-engine progress { width: 100%; height: 6px; accent-color: #0f5c4d; }
.brisk-keys { font-size: .8125rem; color: var(--body-text-color-subdued); }
.brisk-keys kbd { font-family: var(--font-mono); font-size: .95em; border: 1px solid var(--border-color-primary);
  border-radius: 4px; padding: 0 4px; }
"""

# Ctrl/Cmd+Enter runs the tab in view and Esc stops it; Esc keeps closing an open list first.
JS = """
() => {
  const shown = (selector) => [...document.querySelectorAll(selector)].find((b) => b.offsetParent && !b.disabled);
  const button = (name) => shown(`button.${name}, .${name} button`);
  document.addEventListener("keydown", (event) => {
    if (event.key === "Enter" && (event.ctrlKey || event.metaKey) && !event.isComposing) {
      const run = button("brisk-run");
      if (run) { event.preventDefault(); event.stopPropagation(); run.click(); }
    } else if (event.key === "Escape" && !document.querySelector('[role="listbox"], ul.options')) {
      const stop = button("brisk-stop");
      if (stop) { event.preventDefault(); stop.click(); }
    }
  }, true);
  window.briskCopy = async (text) => {
    try {
      await navigator.clipboard.writeText(text ?? "");
    } catch {
      const area = document.createElement("textarea");  // pages not served over https have no clipboard
      area.value = text ?? "";
      document.body.append(area);
      area.select();
      document.execCommand("copy");
      area.remove();
    }
  };
}
"""
