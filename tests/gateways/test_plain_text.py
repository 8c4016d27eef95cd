from time import process_time

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from instant_notifications.gateways.plain_text import plain_text

PIECES = [
    *(
        "<",
        ">",
        "</",
        "/>",
        "<!",
        "<!--",
        "-->",
        "<![",
        "]]>",
        "]>",
        "<?",
        "&",
        "&#",
        ";",
        '"',
        "'",
    ),
    *("<a href=", "<a>", "</a>", "<p>", "</p>", "<br>", "<li>", "<td>", "<img alt=", "<svg>"),
    *("<head>", "</head>", "<title>", "<style>", "</style>", "<script>", "</script>", "<template>"),
    *(
        "if",
        "CDATA[",
        "foo",
        "DOCTYPE",
        "x",
        "=",
        " ",
        "\n",
        "&nbsp;",
        "&#0;",
        "&#xD800;",
        "å",
        "\0",
    ),
]

soup = st.lists(st.sampled_from(PIECES), max_size=30).map("".join)


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("", ""),
        ("Your code is 428516", "Your code is 428516"),
        ("<b>Your</b> <i>code</i>", "Your code"),
        ("Your&nbsp;code &lt;428516&gt; &amp; &aring;&#228;&#xf6;", "Your code <428516> & åäö"),
        ("one<br>two<br/>three", "one\ntwo\nthree"),
        ("<p>one</p><p>two</p>", "one\n\ntwo"),
        ("<div><div><p>one</p></div></div>\n\n\n<div>two</div>", "one\n\ntwo"),
        ("<div><p>one</p></div><p>two</p>", "one\n\ntwo"),
        ("<h1>Title</h1>text", "Title\ntext"),
        ("  one \n\t two  ", "one two"),
        ("<ul><li>one</li><li>two</li></ul>", "- one\n\n- two"),
        ("<table><tr><th>a</th><td>b</td></tr><tr><td>c</td></tr></table>", "a b\n\nc"),
        ("<P>one</P><P CLASS=x>two</P>", "one\n\ntwo"),
        ("a < b and b > a", "a < b and b > a"),
        ("R&D", "R&D"),
        ("<!-- a comment -->text<!DOCTYPE html><?php echo ?>", "text"),
    ],
)
def test_a_reader_sees_the_text(html: str, text: str) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ('<a href="https://a.example/">here</a>', "here (https://a.example/)"),
        ('<a href="https://a.example/">https://a.example/</a>', "https://a.example/"),
        ('<a href="https://a.example/"> https://a.example/ </a>', "https://a.example/"),
        ('<a href="https://a.example/?b=1&amp;c=2">x</a>', "x (https://a.example/?b=1&c=2)"),
        ("<A CLASS=x HREF='/a?b>c'>here</A>", "here (/a?b>c)"),
        ("<a target=_blank href=/a>here</a>", "here (/a)"),
        ('<a data-href="/no" href="/a">here</a>', "here (/a)"),
        ('<a title="href=/no" href="/a">here</a>', "here (/a)"),
        ('<img data-alt="no" alt="yes">', "yes"),
        ("<a>here</a>", "here"),
        ('<a name="top">here</a>', "here"),
        ("here</a>", "here"),
        ('<a href="/a">a</a> <a href="/b">b</a>', "a (/a) b (/b)"),
        ('<a href="https://a.example/"><img src="x" alt="Shop"></a>', "Shop (https://a.example/)"),
    ],
)
def test_a_link_shows_its_address(html: str, text: str) -> None:
    assert plain_text(html) == text


@pytest.mark.parametrize("tag", ["style", "script", "title", "template"])
def test_what_a_reader_does_not_see_is_left_out(tag: str) -> None:
    assert plain_text(f"one <{tag}>hidden</{tag}>two") == "one two"


@pytest.mark.parametrize(
    ("html", "text"),
    [
        ("one<script>two", "one"),
        ("one<style>a > b { }</style>two", "onetwo"),
        ("one<script>if (a < b) { '<p>' }</script>two", "onetwo"),
        ("one<SCRIPT>x</ScRiPt >two", "onetwo"),
        ("one<!-- <p>two</p> -->three", "onethree"),
        ("one<p title='a > b'>two", "one\ntwo"),
    ],
)
def test_what_looks_like_markup_inside_is_not_read(html: str, text: str) -> None:
    assert plain_text(html) == text


def test_a_whole_page_is_reduced_to_its_body() -> None:
    html = """<!DOCTYPE html><html><head><title>T</title><style>p { color: red }</style></head>
    <body><p>Dear&nbsp;Kari,</p><p>your code is <b>428516</b>.</p></body></html>"""
    assert plain_text(html) == "Dear Kari,\n\nyour code is 428516."


@pytest.mark.parametrize(
    "html",
    [
        "<head><title>T</title><body><p>your code is 428516",
        "<head><meta charset=utf-8><body>your code is 428516</body>",
        "<html><head><title>T</title>\n<p>your code is 428516</p>",
        "</style></script>your code is 428516",
        "<p>your code is 428516<p><template>",
    ],
)
def test_a_tag_that_may_be_left_out_hides_nothing(html: str) -> None:
    assert "your code is 428516" in plain_text(html)


def test_conditional_comments_of_mail_programs_are_understood() -> None:
    html = "<!--[if mso]>Outlook<![endif]--><![if !mso]>others<![endif]>"
    assert plain_text(html) == "others"


@given(st.one_of(soup, st.text(max_size=50)))
@example("<![ x ]>")
@example("<![foo]>")
def test_no_text_is_too_strange(html: str) -> None:
    text = plain_text(html)
    assert text == text.strip()
    assert "\n\n\n" not in text


@given(st.text(st.characters(exclude_categories=["C", "Z"], exclude_characters="<&"), min_size=1))
def test_text_without_markup_stays_as_it_is(word: str) -> None:
    assert plain_text(word) == word


@pytest.mark.parametrize(
    "html",
    [
        "<a " * 4_000,
        "<a href=x>y" * 8_000 + "</a>" * 8_000,
        "<!--" * 8_000,
        *("<" * 30_000, "</" * 8_000, "<!" * 8_000, "&" * 30_000, "<p>" * 10_000, "\n " * 15_000),
    ],
    ids=lambda html: html[:5],
)
def test_a_long_text_is_read_in_no_time(html: str) -> None:
    started = process_time()
    plain_text(html)
    assert process_time() - started < 0.4
