"""What the page in the browser takes to load, and to paint a square photo, in headless Chromium.

python benchmarks/page.py --size 512 --chromium /usr/bin/chromium
"""

from __future__ import annotations

import argparse
import statistics
import tempfile
import threading
import time

from common import machine, print_table, square_photo
from playwright.sync_api import Page, sync_playwright

from arbstyle.web import Site, collect_site, make_server


def seconds_to_paint(page: Page, style: str) -> float:
    """From the click on a style to the picture."""
    page.evaluate("delete document.documentElement.dataset.painted")
    start = time.perf_counter()
    page.check(f"#first input[value={style}]", force=True)
    page.wait_for_selector("html[data-painted]")
    return time.perf_counter() - start


def measure(site: Site, chromium: str, size: int, repeats: int) -> tuple[float, float, list[float]]:
    """Seconds until the page is loaded, of the first picture, and of each one in another style."""
    server = make_server(site, port=0)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    with tempfile.TemporaryDirectory() as folder, sync_playwright() as playwright:
        photo = square_photo(folder, size)
        browser = playwright.chromium.launch(executable_path=chromium, args=["--no-sandbox"])
        page = browser.new_page()
        page.set_default_timeout(120_000)
        start = time.perf_counter()
        page.goto(f"http://127.0.0.1:{server.server_address[1]}/")
        page.wait_for_selector("html[data-ready]")
        page.wait_for_selector("#first input:checked", state="attached")
        loading = time.perf_counter() - start
        page.set_input_files("#photo", str(photo))
        page.wait_for_selector("html[data-painted]")
        first = time.perf_counter() - start - loading
        later = [seconds_to_paint(page, ("ink", "woodcut")[i % 2]) for i in range(repeats)]
        browser.close()
    server.shutdown()
    server.server_close()
    return loading, first, later


def main() -> None:
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--size", type=int, default=512, help="side of the photo")
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--chromium", default="/usr/bin/chromium")
    args = parser.parse_args()
    loading, first, later = measure(collect_site(), args.chromium, args.size, args.repeats)
    print(f"{args.size}×{args.size} pixels, {machine()}\n")
    rows = {
        "loaded, from this machine": f"{loading:.1f}",
        "first picture": f"{first:.1f}",
        f"another style, median of {args.repeats}": f"{statistics.median(later):.2f}",
    }
    print_table(["page", "s"], rows.items())


if __name__ == "__main__":
    main()
