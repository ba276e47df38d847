"""Models made from labelled texts. The loop and its parts are the engine's (`engine.training`); here are the texts, and
the teacher whose judgement a small student is to learn.
"""
