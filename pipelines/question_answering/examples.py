"""Texts for the examples of the question-answering tab, written for it."""

FILM = """\
The Long Ferry opened in cinemas last Friday. It was directed by Maria Lindqvist, who spent two winters on the river \
to prepare for it. Jonas Weber plays the older brother, Anton, and the newcomer Sami Okafor is Milo. The music was \
written by Elena Petrova for a single accordion. The film cost four million euros and was shot in 38 days."""

TOWER = """\
The old water tower stands on the hill above the station. Building began in 1887, stopped twice for lack of money, \
and was finished in 1894. It is 41 metres high and held 600 cubic metres of water for the town and its brewery. \
Since 1972 it has been empty; a small museum on the ground floor is open on Sundays, and swifts nest under the roof."""

RECIPE = """\
Mix 500 grams of flour with 350 millilitres of lukewarm water, ten grams of salt and a little yeast. Let the dough \
rest overnight in the refrigerator. In the morning, fold it three times and shape it. Heat the oven to 240 degrees \
with an iron pot inside. The bread bakes for 45 minutes, the first thirty of them with the lid on. Let it cool \
before cutting."""

EXPEDITION = """\
The Aurora left Tromso on 3 June with nineteen people and food for fourteen months. In August the ship was caught in \
the ice near the eightieth parallel. The winter was mild at first. By February the crew had run out of coal, and \
burned the cabin walls to keep the stove going. They were found in May by whalers; all but one had survived."""
