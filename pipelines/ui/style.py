"""How the page looks and which keys it knows: theme, CSS and JavaScript, all of it served from this machine."""

from __future__ import annotations

import gradio as gr

SANS = ("ui-sans-serif", "system-ui", "-apple-system", "Segoe UI", "Roboto", "Helvetica Neue", "Arial", "sans-serif")
MONO = ("ui-monospace", "SFMono-Regular", "Menlo", "Consolas", "DejaVu Sans Mono", "monospace")
ACCENT, ACCENT_ON_DARK = "#0f5c4d", "#2bb697"  # both over 4.5:1 on their grounds

# What looks alike in light and dark.
_SETTINGS = {
    "block_title_text_weight": "600", "block_title_text_size": "*text_sm",
    "block_label_text_weight": "600", "block_label_text_size": "*text_sm",
    "button_large_padding": "8px 16px", "button_large_text_size": "*text_md",
    "checkbox_label_border_width": "1px", "checkbox_label_padding": "5px 7px", "checkbox_label_text_size": "*text_sm",
}  # fmt: skip
# What differs, or must be said for both: in light, in dark.
_GROUNDS = {
    "body_background_fill": ("*neutral_50", "*neutral_950"),
    "button_border_width": ("1px", "1px"),
    "button_primary_background_fill": (ACCENT, "#12705e"),
    "button_primary_background_fill_hover": ("#0b4a3e", ACCENT),
    "button_primary_border_color": ("transparent", "transparent"),
    "button_primary_text_color": ("white", "white"),
    "button_secondary_border_color": ("*neutral_300", "*neutral_600"),
    "button_cancel_border_color": ("*neutral_300", "*neutral_600"),
    "checkbox_background_color_selected": (ACCENT, "#12705e"),
    "checkbox_border_color_selected": (ACCENT, "#12705e"),
    "slider_color": (ACCENT, ACCENT_ON_DARK),
    "stat_background_fill": (ACCENT, ACCENT_ON_DARK),
}


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
        **_SETTINGS,
        **{
            f"{name}{end}": value
            for name, both in _GROUNDS.items()
            for end, value in zip(("", "_dark"), both, strict=True)
        },
    )


CSS = """
.gradio-container { max-width: 1400px !important; }
.brisk-title h1 { font-size: 1.375rem !important; font-weight: 650; margin: 0 !important; letter-spacing: -.01em; }
.brisk-title .html-container > div { display: flex; flex-wrap: wrap; justify-content: space-between;
  align-items: end; gap: 4px 24px; }
.brisk-title p, .brisk-intro { margin: 2px 0 0 !important; color: var(--body-text-color-subdued); }
.brisk-side { font-size: 1rem !important; font-weight: 600; margin: 6px 0 0 !important; }
.tab-container button.selected { color: var(--body-text-color); font-weight: 600; }
.tab-container button.selected::after { background: ACCENT; }
.html-container { padding: 0 !important; }
.tab-wrapper { margin-bottom: 0 !important; }
.tabitem { padding: 14px 0 0 !important; }
.tabitem > .column, .brisk-page { gap: 14px; }
.brisk-page .column { gap: 10px; }
.brisk-buttons { gap: 8px; }
.brisk-line { font-size: .875rem; line-height: 1.5; color: var(--body-text-color-subdued);
  font-variant-numeric: tabular-nums; overflow-wrap: anywhere; }
.brisk-line b { color: var(--body-text-color); font-weight: 600; margin-right: .35em; }
.brisk-line p { margin: 4px 0 0 !important; }
.brisk-line.busy b::before { content: ""; display: inline-block; width: .55em; height: .55em; margin-right: .5em;
  border-radius: 50%; background: ACCENT; animation: brisk-pulse 1.2s ease-in-out infinite; }
.dark .brisk-line.busy b::before { background: LIGHT; }
@keyframes brisk-pulse { 50% { opacity: .25; } }
@media (prefers-reduced-motion: reduce) { .brisk-line.busy b::before { animation: none; } }
.brisk-line-place { min-height: 3em; }
.brisk-output textarea:disabled { color: var(--body-text-color); -webkit-text-fill-color: var(--body-text-color);
  opacity: 1; }
.brisk-copy { align-self: flex-end; flex-grow: 0 !important; width: auto; }
.brisk-mark .token-container, .brisk-mark .token, .brisk-mark .text { display: inline !important;
  word-break: normal !important; overflow-wrap: anywhere; }
.brisk-mark .text { line-height: 1.6; }
.brisk-mark .token.highlighted { background: ACCENT !important; padding: 1px 3px; margin: 0;
  border-radius: 3px; }
.brisk-mark .token.highlighted .text { color: white !important; }
.brisk-table .label p { font-weight: 600; font-size: var(--text-sm); }
.brisk-mark .textfield { display: block !important; max-height: 320px; overflow-y: auto; }
.brisk-table * { font-family: var(--font) !important; }
.brisk-table .cell-menu-button { display: none; }
.brisk-bars .text, .brisk-bars .confidence { font-family: var(--font); overflow-wrap: anywhere; }
.brisk-bars .output-class { font-size: 1.375rem; padding: 20px 12px 12px; overflow-wrap: anywhere; }
.brisk-engine dl { display: grid; grid-template-columns: auto 1fr; gap: 2px 12px; margin: 8px 0 0;
  font-size: .8125rem; }
.brisk-engine dt { color: var(--body-text-color-subdued); }
.brisk-engine dd { margin: 0; overflow-wrap: anywhere; }
.brisk-engine .state { font-weight: 600; overflow-wrap: anywhere; }
.brisk-engine .note, .brisk-engine .error { font-size: .8125rem; line-height: 1.45; margin: 8px 0 0 !important;
  overflow-wrap: anywhere; }
.brisk-engine .note { color: var(--body-text-color-subdued); }
.brisk-engine .error { color: #b42318; }
.dark .brisk-engine .error { color: #ff9c91; }
.brisk-engine progress { width: 100%; height: 6px; accent-color: ACCENT; }
.brisk-keys { font-size: .8125rem; color: var(--body-text-color-subdued); margin: 0 !important; }
@media (hover: none), (max-width: 640px) { .brisk-keys { display: none; } }
.brisk-keys kbd { font-family: var(--font-mono); font-size: .95em; border: 1px solid var(--border-color-primary);
  border-radius: 4px; padding: 0 4px; }
""".replace("ACCENT", ACCENT).replace("LIGHT", ACCENT_ON_DARK)

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
  // On a telephone the panel would cover the page: it begins closed there.
  const closePanel = (tries) => {
    const toggle = document.querySelector(".sidebar.open .toggle-button, .sidebar .toggle-button");
    if (toggle) { if (window.innerWidth < 768 && document.querySelector(".sidebar.open")) toggle.click(); }
    else if (tries) setTimeout(closePanel, 100, tries - 1);
  };
  closePanel(50);
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
