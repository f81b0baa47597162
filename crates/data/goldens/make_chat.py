"""Writes chat.json: what transformers makes of chat templates in the styles of well-known models.

    python make_chat.py > chat.json        (needs transformers; the template texts below are our own)

Each case is a template, the special tokens it sees, the messages, and the rendered text with and without generation prompt,
or the error the template raises. tests/chat.rs renders the same and compares.
"""

import datetime
import json
import sys

from transformers.utils import chat_template_utils

SYSTEM = {"role": "system", "content": "  You are terse & kind.\n"}
CHATS = {
    "question": [{"role": "user", "content": "  What is \"2 < 3\"?  "}],
    "system": [SYSTEM, {"role": "user", "content": "Hi"}],
    "turns": [
        SYSTEM,
        {"role": "user", "content": "Grüße, 世界! 🦊"},
        {"role": "assistant", "content": " <think>hm</think> Hello\n\n"},
        {"role": "user", "content": "line one\nline two"},
        {"role": "assistant", "content": "Done."},
    ],
    "assistant_first": [{"role": "assistant", "content": "Welcome."}, {"role": "user", "content": "Thanks"}],
    "empty": [],
}

TEMPLATES = {
    "chatml": (
        "{% for message in messages %}{{'<|im_start|>' + message['role'] + '\n' + message['content'] + '<|im_end|>' + '\n'}}"
        "{% endfor %}{% if add_generation_prompt %}{{ '<|im_start|>assistant\n' }}{% endif %}"
    ),
    "chatml_default_system": """{% for message in messages %}
{% if loop.first and messages[0]['role'] != 'system' %}
{{- '<|im_start|>system\\nYou are a small helper.<|im_end|>\\n' }}
{% endif %}
{{- '<|im_start|>' ~ message.role ~ '\\n' ~ message.content | trim ~ '<|im_end|>\\n' }}
{% endfor %}
{% if add_generation_prompt %}
{{- '<|im_start|>assistant\\n' }}
{% endif %}
""",
    "llama3": """{{- bos_token }}
{%- if not date_string is defined %}
    {%- if strftime_now is defined %}
        {%- set date_string = strftime_now("%d %b %Y") %}
    {%- else %}
        {%- set date_string = "26 Jul 2024" %}
    {%- endif %}
{%- endif %}
{%- if not tools is defined %}
    {%- set tools = none %}
{%- endif %}
{#- The system message, wherever it comes from. #}
{%- if messages and messages[0]['role'] == 'system' %}
    {%- set system_message = messages[0]['content'] | trim %}
    {%- set messages = messages[1:] %}
{%- else %}
    {%- set system_message = "" %}
{%- endif %}
{{- "<|start_header_id|>system<|end_header_id|>\\n\\n" }}
{%- if tools is not none %}
    {{- "Environment: tools\\n" }}
{%- endif %}
{{- "Today Date: " + date_string + "\\n\\n" + system_message + "<|eot_id|>" }}
{%- for message in messages %}
    {%- if not (message.role == 'tool' or 'tool_calls' in message) %}
        {{- '<|start_header_id|>' + message['role'] + '<|end_header_id|>\\n\\n' + message['content'] | trim + '<|eot_id|>' }}
    {%- elif 'tool_calls' in message %}
        {{- raise_exception("no tools here") }}
    {%- endif %}
{%- endfor %}
{%- if add_generation_prompt %}
    {{- '<|start_header_id|>assistant<|end_header_id|>\\n\\n' }}
{%- endif %}
""",
    "llama2": """{% if messages and messages[0]['role'] == 'system' %}{% set loop_messages = messages[1:] %}{% set system_message = messages[0]['content'] %}{% else %}{% set loop_messages = messages %}{% set system_message = false %}{% endif %}{% for message in loop_messages %}{% if (message['role'] == 'user') != (loop.index0 % 2 == 0) %}{{ raise_exception('Conversation roles must alternate user/assistant/user/assistant/...') }}{% endif %}{% if loop.index0 == 0 and system_message != false %}{% set content = '<<SYS>>\\n' + system_message + '\\n<</SYS>>\\n\\n' + message['content'] %}{% else %}{% set content = message['content'] %}{% endif %}{% if message['role'] == 'user' %}{{ bos_token + '[INST] ' + content.strip() + ' [/INST]' }}{% elif message['role'] == 'assistant' %}{{ ' '  + content.strip() + ' ' + eos_token }}{% endif %}{% endfor %}""",
    "reasoning": """{%- set ns = namespace(last_user=-1, seen=false) -%}
{%- for message in messages[::-1] -%}
    {%- set index = (messages | length - 1) - loop.index0 -%}
    {%- if message.role == "user" and not ns.seen -%}
        {%- set ns.last_user = index -%}
        {%- set ns.seen = true -%}
    {%- endif -%}
{%- endfor -%}
{%- for message in messages -%}
    {%- set content = message.content -%}
    {%- if message.role == 'assistant' and '</think>' in content -%}
        {%- set thought = content.split('</think>')[0].rstrip('\\n').split('<think>')[-1].lstrip('\\n') -%}
        {%- set content = content.split('</think>')[-1].lstrip('\\n') -%}
        {%- if loop.index0 > ns.last_user -%}
            {%- set content = '<think>\\n' + thought.strip('\\n') + '\\n</think>\\n\\n' + content -%}
        {%- endif -%}
    {%- endif -%}
    {{- '<|' + message.role.upper() + '|>' + content.replace('\\n\\n', '\\n') + ('' if loop.last else '<|next|>') }}
{%- endfor -%}
{%- if add_generation_prompt -%}
    {{- '<|ASSISTANT|>' -}}
    {%- if enable_thinking is defined and enable_thinking is false -%}{{- '<think></think>' -}}{%- endif -%}
{%- endif -%}""",
    "macros_and_json": """{% macro turn(message, number) %}
  [{{ number }}/{{ message.items() | length }}] {{ message | tojson }}
{% endmacro %}
{% for message in messages if message.role != 'system' %}
    {% if loop.index0 is even %}
    {{ turn(message, loop.index) }}
    {% else %}
    {{ message.content | tojson(ensure_ascii=true) }} {{ {'n': loop.index, 'x': 1.5, 'b': [true, none]} | tojson(indent=2) }}
    {% endif %}
    {% if loop.index >= 3 %}{% break %}{% endif %}
{% else %}
nobody: {{ messages | length == 0 }} {{ none }} {{ missing }}
{% endfor %}
{{ messages | map(attribute='role') | join('+') }} {{ messages | selectattr('role', 'equalto', 'user') | list | length }}
{{ eos_token }}
""",
    "generation_marks": """{% for message in messages %}
{%- if message['role'] == 'assistant' %}
{{- '<assistant>' -}}
{% generation %}{{- message['content'] + eos_token -}}{% endgeneration %}
{%- else %}
{{- '<' + message['role'].title() + '>' + message['content'].strip() }}
{%- endif %}
{% endfor %}
{%- if add_generation_prompt %}{{- '<assistant>' }}{% endif %}
""",
}


class Clock(datetime.datetime):
    """The date our templates see unless told otherwise."""

    @classmethod
    def now(cls, tz=None):
        return cls(2024, 7, 26)


def render(template, messages, add_generation_prompt):
    try:
        rendered, _ = chat_template_utils.render_jinja_template(
            conversations=[messages],
            chat_template=template,
            add_generation_prompt=add_generation_prompt,
            bos_token="<s>",
            eos_token="</s>",
        )
        return {"text": rendered[0]}
    except Exception as error:  # jinja's TemplateError: what the template raised
        return {"error": str(error)}


def main():
    chat_template_utils.datetime = Clock
    cases = [
        {
            "name": f"{name}/{chat}",
            "template": template,
            "messages": messages,
            "without": render(template, messages, False),
            "with": render(template, messages, True),
        }
        for name, template in TEMPLATES.items()
        for chat, messages in CHATS.items()
    ]
    json.dump(cases, sys.stdout, ensure_ascii=False, indent=1)
    print()


main()
